"""Access tokens."""

import asyncio
import base64
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm
from structlog.testing import capture_logs

from palaver.contracts.errors import UNAUTHENTICATED, UNAVAILABLE, PalaverError
from palaver.contracts.ids import new_id
from palaver.runtime.tokens import (
    FUTURE_SECONDS,
    LEEWAY_SECONDS,
    START_SECONDS,
    Claims,
    TokenVerifier,
    sign_token,
)

NOW = 1_800_000_000
KEY = Ed25519PrivateKey.generate()
OTHER_KEY = Ed25519PrivateKey.generate()
LIVES = 600
CLAIMS = Claims(new_id(), new_id(), NOW, NOW + 60)


class Auth:
    """What the verifier asks for keys. Counts the calls; fails while `away`."""

    def __init__(self, **keys: Ed25519PrivateKey) -> None:
        self.keys = keys
        self.revoked: list[str] = []
        self.lives = LIVES
        self.calls = 0
        self.away = False

    async def jwks(self) -> dict[str, Any]:
        self.calls += 1
        # As a call over a network: others run meanwhile
        await asyncio.sleep(0)
        if self.away:
            raise PalaverError(UNAVAILABLE)
        public = {kid: OKPAlgorithm.to_jwk(key.public_key(), as_dict=True) for kid, key in self.keys.items()}
        keys = [{**jwk, "kid": kid} for kid, jwk in public.items() if kid not in self.revoked]
        return {"keys": keys, "revoked": list(self.revoked), "access_token_seconds": self.lives}


class Clock:
    """A clock that stands until it is set."""

    now = float(NOW)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def auth() -> Auth:
    return Auth(k1=KEY)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def verifier(auth: Auth, clock: Clock) -> TokenVerifier:
    return TokenVerifier(auth.jwks, LIVES, clock, ticks=clock)


async def refusal(verifier: TokenVerifier, token: str) -> PalaverError:
    with pytest.raises(PalaverError) as caught:
        await verifier.verify(token)
    return caught.value


def part(content: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


async def test_good_token_tells_its_claims(verifier: TokenVerifier) -> None:
    """Nobody could do anything, or would do it as somebody else."""
    assert await verifier.verify(sign_token(CLAIMS, KEY, "k1")) == CLAIMS


async def test_known_token_costs_no_verification(auth: Auth, verifier: TokenVerifier) -> None:
    """Each request would cost a signature check and could call auth."""
    token = sign_token(CLAIMS, KEY, "k1")
    assert verifier.verify_known(token) is None
    await verifier.verify(token)
    assert verifier.verify_known(token) == CLAIMS
    await verifier.verify(token)
    assert auth.calls == 1


async def test_expired_token_is_refused(verifier: TokenVerifier, clock: Clock) -> None:
    """A stolen token would be good for ever, also one that was seen while it was good."""
    token = sign_token(CLAIMS, KEY, "k1")
    await verifier.verify(token)
    clock.now = NOW + 60 + LEEWAY_SECONDS
    assert await verifier.verify(token) == CLAIMS
    clock.now += 1
    assert (await refusal(verifier, token)).kind is UNAUTHENTICATED
    assert verifier.verify_known(token) is None


async def test_token_that_was_good_when_a_socket_opened(verifier: TokenVerifier, clock: Clock) -> None:
    """Sockets that live longer than an access token would be lost when the messenger restarts."""
    clock.now = NOW + 10_000
    token = sign_token(CLAIMS, KEY, "k1")
    assert await verifier.verify(token, good_at=NOW + 1) == CLAIMS
    assert verifier.verify_known(token) is None


@pytest.mark.parametrize("algorithm", ["none", "HS256", "RS256", "ES256"])
async def test_forged_algorithm_is_refused(verifier: TokenVerifier, algorithm: str) -> None:
    """Whoever has the public key, that is everybody, could sign tokens for any user (RFC 8725 §2.1)."""
    good = sign_token(CLAIMS, KEY, "k1")
    _, body, signature = good.split(".")
    header = part({"alg": algorithm, "typ": "JWT", "kid": "k1"})
    for forged in (signature, ""):
        assert (await refusal(verifier, f"{header}.{body}.{forged}")).kind is UNAUTHENTICATED


async def test_public_key_as_a_secret_is_refused(verifier: TokenVerifier) -> None:
    """The same, with the public key's bytes as an HMAC secret."""
    public = KEY.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    body = jwt.decode(sign_token(CLAIMS, KEY, "k1"), options={"verify_signature": False})
    forged = jwt.encode(body, public, algorithm="HS256", headers={"kid": "k1"})
    assert (await refusal(verifier, forged)).kind is UNAUTHENTICATED


async def test_tampered_token_is_refused(verifier: TokenVerifier) -> None:
    """A user could become another by changing their own token."""
    header, body, signature = sign_token(CLAIMS, KEY, "k1").split(".")
    other = sign_token(Claims(new_id(), new_id(), NOW, NOW + 60), KEY, "k1").split(".")[1]
    for token in (
        f"{header}.{other}.{signature}",
        f"{header}.{body}.{signature[:-4]}AAAA",
        f"{header}.{body}.",
        f"{header}.{body}",
        "",
        "\ud800",
        "a.b.c",
    ):
        assert (await refusal(verifier, token)).kind is UNAUTHENTICATED


async def test_other_key_is_refused(verifier: TokenVerifier) -> None:
    """Anybody with a key of their own could sign."""
    assert (await refusal(verifier, sign_token(CLAIMS, OTHER_KEY, "k1"))).kind is UNAUTHENTICATED


@pytest.mark.parametrize(
    "change",
    [
        {"sub": None},
        {"sub": "alice"},
        {"sid": 7},
        {"iss": "else"},
        {"exp": "soon"},
        {"exp": 1e999},
        {"exp": str(NOW + 60)},
        {"iat": True},
        {"iat": None},
        {"exp": None},
    ],
)
async def test_strange_claims_are_refused(verifier: TokenVerifier, change: dict[str, Any]) -> None:
    """A token of another program that shares the key would be taken, or crash the request."""
    body = jwt.decode(sign_token(CLAIMS, KEY, "k1"), options={"verify_signature": False}) | change
    body = {name: value for name, value in body.items() if value is not None}
    header, middle = part({"alg": "EdDSA", "typ": "JWT", "kid": "k1"}), part(body)
    signature = base64.urlsafe_b64encode(KEY.sign(f"{header}.{middle}".encode())).decode().rstrip("=")
    assert (await refusal(verifier, f"{header}.{middle}.{signature}")).kind is UNAUTHENTICATED


async def test_new_key_is_found(auth: Auth, verifier: TokenVerifier, clock: Clock) -> None:
    """After a rotation of keys everybody would be signed out, old tokens or new."""
    old = sign_token(CLAIMS, KEY, "k1")
    await verifier.verify(old)
    auth.keys["k2"] = OTHER_KEY
    clock.now += 1
    assert await verifier.verify(sign_token(CLAIMS, OTHER_KEY, "k2")) == CLAIMS
    again = Claims(new_id(), new_id(), NOW, NOW + 60)
    assert await verifier.verify(sign_token(again, KEY, "k1")) == again


@pytest.mark.parametrize(
    ("issued_at", "expires_at"),
    [
        (NOW, NOW + 100 * 365 * 86_400),
        (NOW, NOW + LIVES + LEEWAY_SECONDS + 1),
        (NOW + 100 * 365 * 86_400, NOW + 100 * 365 * 86_400 + 60),
        (NOW + FUTURE_SECONDS + 1, NOW + FUTURE_SECONDS + 61),
        (0, NOW + 60),
        (-NOW, NOW + 60),
    ],
)
async def test_lifetime_that_auth_does_not_give_is_refused(
    verifier: TokenVerifier, issued_at: int, expires_at: int
) -> None:
    """One token forged with a key that leaked would read a user's chats for a hundred years."""
    forged = sign_token(Claims(CLAIMS.user_id, CLAIMS.session_id, issued_at, expires_at), KEY, "k1")
    assert (await refusal(verifier, forged)).kind is UNAUTHENTICATED


async def test_clocks_may_differ_a_little(verifier: TokenVerifier) -> None:
    """Everybody would be signed out where the gateway's clock is seconds behind auth's."""
    ahead = Claims(new_id(), new_id(), NOW + FUTURE_SECONDS, NOW + FUTURE_SECONDS + LIVES)
    assert await verifier.verify(sign_token(ahead, KEY, "k1")) == ahead


async def test_lifetime_is_the_one_that_auth_names(auth: Auth, verifier: TokenVerifier) -> None:
    """A lifetime that was set for auth alone would have every token refused by the others."""
    long = Claims(new_id(), new_id(), NOW, NOW + 10 * LIVES)
    auth.lives = 10 * LIVES
    assert await verifier.verify(sign_token(long, KEY, "k1")) == long


async def test_revoked_key_goes_with_the_tokens_that_were_seen(auth: Auth, clock: Clock) -> None:
    """A token forged with a leaked key would stay good where it was seen before, and keep its sockets."""
    revoked: list[str] = []
    verifier = TokenVerifier(auth.jwks, LIVES, clock, ticks=clock, key_revoked=revoked.append)
    forged, good = sign_token(CLAIMS, KEY, "k1"), sign_token(CLAIMS, OTHER_KEY, "k2")
    auth.keys["k2"] = OTHER_KEY
    for token in (forged, good):
        await verifier.verify(token)
    auth.revoked = ["k1"]
    for _ in range(2):
        await verifier.refresh_keys()
    assert verifier.verify_known(forged) is None
    assert (await refusal(verifier, forged)).kind is UNAUTHENTICATED
    # Nor is it good for a socket that comes back
    with pytest.raises(PalaverError):
        await verifier.verify(forged, good_at=NOW)
    assert await verifier.verify(good) == CLAIMS
    assert revoked == ["k1"]
    assert (verifier.is_revoked(forged), verifier.is_revoked(good)) == (True, False)


async def test_key_that_changed_under_its_id_takes_its_tokens_along(
    auth: Auth, verifier: TokenVerifier
) -> None:
    """After another database was put in place tokens of the old one would stay good."""
    token = sign_token(CLAIMS, KEY, "k1")
    await verifier.verify(token)
    auth.keys["k1"] = OTHER_KEY
    await verifier.refresh_keys()
    assert (await refusal(verifier, token)).kind is UNAUTHENTICATED


async def test_known_keys_are_good_without_auth_for_a_token_s_life(
    auth: Auth, verifier: TokenVerifier, clock: Clock
) -> None:
    """A restart of auth would stop everybody; or a gateway that is cut off would trust a key for ever."""
    token = sign_token(CLAIMS, KEY, "k1")
    later = sign_token(Claims(new_id(), new_id(), NOW + LIVES, NOW + 2 * LIVES), KEY, "k1")
    await verifier.verify(token)
    auth.away = True
    clock.now = NOW + 59
    await verifier.refresh_keys()
    assert await verifier.verify(token) == CLAIMS
    clock.now = NOW + LIVES + LEEWAY_SECONDS
    await verifier.refresh_keys()
    await verifier.verify(later)
    clock.now += 1
    await verifier.refresh_keys()
    assert verifier.verify_known(later) is None
    assert (await refusal(verifier, later)).kind is UNAVAILABLE
    auth.away = False
    clock.now += 1
    await verifier.verify(later)


async def test_new_key_is_found_right_after_a_look(auth: Auth, verifier: TokenVerifier, clock: Clock) -> None:
    """Whoever signs in just after a rotation would be refused for a second."""
    await verifier.verify(sign_token(CLAIMS, KEY, "k1"))
    clock.now += 5
    await verifier.refresh_keys()
    auth.keys["k2"] = OTHER_KEY
    assert await verifier.verify(sign_token(CLAIMS, OTHER_KEY, "k2")) == CLAIMS


async def test_unknown_keys_are_looked_for_once_a_second(
    auth: Auth, verifier: TokenVerifier, clock: Clock
) -> None:
    """Forged tokens with made-up keys would each become a call to auth."""
    for number in range(50):
        forged = sign_token(CLAIMS, OTHER_KEY, f"made-up-{number}")
        assert (await refusal(verifier, forged)).kind is UNAUTHENTICATED
    assert auth.calls == 1
    clock.now += 1
    await refusal(verifier, sign_token(CLAIMS, OTHER_KEY, "made-up"))
    assert auth.calls == 2


async def test_all_who_wait_share_one_call(auth: Auth, verifier: TokenVerifier) -> None:
    """When 500 sockets come back at once, the first would ask for the keys and 499 would be refused."""
    many = [Claims(new_id(), new_id(), NOW, NOW + 60) for _ in range(20)]
    found = await asyncio.gather(*(verifier.verify(sign_token(one, KEY, "k1")) for one in many))
    assert found == many
    assert auth.calls == 1


async def test_nobody_is_refused_while_auth_is_away(
    auth: Auth, verifier: TokenVerifier, clock: Clock
) -> None:
    """Clients would take 401 for the end of their session and throw good tokens away."""
    auth.away = True
    token = sign_token(CLAIMS, KEY, "k1")
    for _ in range(3):
        assert (await refusal(verifier, token)).kind is UNAVAILABLE
    assert auth.calls == 1
    auth.away = False
    clock.now += 1
    assert await verifier.verify(token) == CLAIMS


async def test_memory_is_bounded(verifier: TokenVerifier, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens would fill the memory of a service that runs for months."""
    monkeypatch.setattr("palaver.runtime.tokens.CACHED_TOKENS", 3)
    tokens = [sign_token(Claims(new_id(), new_id(), NOW, NOW + 60), KEY, "k1") for _ in range(5)]
    for token in tokens:
        await verifier.verify(token)
    assert [verifier.verify_known(token) is not None for token in tokens] == [False, False, True, True, True]


async def test_an_auth_that_never_answers_is_logged_once(
    auth: Auth, clock: Clock, verifier: TokenVerifier
) -> None:
    """A service with another secret than auth's would refuse everybody, and no line would say why."""
    auth.away = True
    with capture_logs() as lines:
        await verifier.refresh_keys()
        assert lines == []
        clock.now += START_SECONDS
        await verifier.refresh_keys()
        await verifier.refresh_keys()
    assert [line["event"] for line in lines] == ["keys_not_refreshed"]


async def test_each_time_that_auth_goes_away_is_logged(auth: Auth, verifier: TokenVerifier) -> None:
    """Nobody would learn that services go on with old keys."""
    with capture_logs() as lines:
        for away in (False, True, True, False, True):
            auth.away = away
            await verifier.refresh_keys()
    assert len(lines) == 2
