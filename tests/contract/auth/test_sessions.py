"""Signing in, staying signed in and signing out, over private REST."""

import asyncio
import hashlib
import time
from uuid import UUID

import bcrypt
import jwt
import pytest
from structlog.testing import capture_logs

from palaver.auth.login_throttle import SLOW_SECONDS
from palaver.contracts.accounts import Session, TokenPair
from palaver.runtime.tokens import TokenVerifier
from tests.harness.auth_service import PASSWORD, AuthApi, AuthHome, on_one_engine

DEVICE = {"x-client-address": "2001:db8::7", "x-client-agent": "Телефон/1.0 \U0001f4f1"}


async def test_sign_in_gives_a_verifiable_pair(auth_api: AuthApi) -> None:
    """Other services would refuse every token."""
    pair = TokenPair.model_validate(await auth_api.signed_in_user("alice@email.com"))

    async def keys() -> dict[str, object]:
        found: dict[str, object] = (await auth_api.call("GET", "/.well-known/jwks.json")).json
        return found

    claims = await TokenVerifier(keys, 1_800).verify(pair.access_token)
    assert (claims.user_id, claims.session_id) == (pair.user_id.bytes, pair.session_id.bytes)
    assert claims.expires_at - claims.issued_at == pair.expires_in == 1_800


@pytest.mark.parametrize("email", ["alice@email.com", "nobody@email.com"])
async def test_wrong_pair_tells_nothing(auth_api: AuthApi, email: str) -> None:
    """The answer would tell who has an account."""
    await auth_api.sign_up("alice@email.com")
    answer = await auth_api.sign_in(email, "wrong password")
    assert answer.status == 401
    assert answer.json == {"code": "unauthenticated", "message": "the email or the password is wrong"}


@on_one_engine
@pytest.mark.parametrize(
    ("email", "password", "field"), [("x", PASSWORD, "email"), ("a@b.test", "\0", "password")]
)
async def test_bad_field_is_named(auth_api: AuthApi, email: str, password: str, field: str) -> None:
    """A user would search for the mistake in the wrong field."""
    assert (await auth_api.sign_in(email, password)).refusal == (422, "invalid", field)


async def test_devices_are_listed_with_what_they_are(auth_api: AuthApi) -> None:
    """A user could not see a stranger's session; a new device would sign the old one out."""
    first = await auth_api.signed_in_user("alice@email.com")
    second = (await auth_api.sign_in("alice@email.com", headers=DEVICE)).json
    listed = (await auth_api.call("GET", "/sessions", first["access_token"])).json["sessions"]
    sessions = [Session.model_validate(one) for one in listed]
    assert [str(one.id) for one in sessions] == [second["session_id"], first["session_id"]]
    assert [one.current for one in sessions] == [False, True]
    assert (sessions[0].address, sessions[0].agent) == (DEVICE["x-client-address"], DEVICE["x-client-agent"])


async def test_refresh_rotates(auth_api: AuthApi) -> None:
    """Users would be signed out after half an hour."""
    pair = await auth_api.signed_in_user("alice@email.com")
    for _ in range(3):
        answer = await auth_api.refresh(pair["refresh_token"])
        assert answer.status == 200
        assert answer.json["session_id"] == pair["session_id"]
        assert answer.json["refresh_token"] != pair["refresh_token"]
        pair = answer.json
        assert (await auth_api.call("GET", "/users/me", pair["access_token"])).status == 200


@pytest.mark.parametrize("is_late", [True, False])
async def test_used_refresh_token_ends_the_session(auth_home: AuthHome, is_late: bool) -> None:
    """Whoever stole a token could use it beside its owner for ever."""
    repeat = {"refresh_repeat_seconds": 0.2} if is_late else {}
    async with auth_home.running(**repeat) as auth_api:
        first = await auth_api.signed_in_user("alice@email.com")
        other = (await auth_api.sign_in("alice@email.com")).json
        second = (await auth_api.refresh(first["refresh_token"])).json
        if is_late:
            await asyncio.sleep(0.25)
        else:
            # Its successor has arrived, because it was used
            second = (await auth_api.refresh(second["refresh_token"])).json
        assert (await auth_api.refresh(first["refresh_token"])).refusal[:2] == (401, "session_revoked")
        assert (await auth_api.refresh(second["refresh_token"])).refusal[:2] == (401, "session_revoked")
        for token in (first["access_token"], second["access_token"]):
            assert (await auth_api.call("GET", "/users/me", token)).refusal[:2] == (401, "session_revoked")
            change = await auth_api.call("PATCH", "/users/me", token, json={"city": "x"})
            assert change.refusal[:2] == (401, "session_revoked")
        assert (await auth_api.call("GET", "/users/me", other["access_token"])).status == 200


async def test_same_token_twice_at_once_gives_one_pair(auth_api: AuthApi) -> None:
    """Two tabs of a browser that wake up together would sign their user out."""
    for number in range(5):
        pair = await auth_api.signed_in_user(f"{number}@email.com")
        answers = await asyncio.gather(*(auth_api.refresh(pair["refresh_token"]) for _ in range(4)))
        assert {answer.status for answer in answers} == {200}
        assert all(answer.json == answers[0].json for answer in answers)
        assert answers[0].json["refresh_token"] != pair["refresh_token"]
        assert (await auth_api.refresh(answers[0].json["refresh_token"])).status == 200


async def test_repeat_after_a_lost_answer_gives_the_same_pair(auth_home: AuthHome) -> None:
    """A phone whose connection broke before the answer would have to sign in again; also across a restart."""
    async with auth_home.running() as auth_api:
        pair = await auth_api.signed_in_user("alice@email.com")
        lost = (await auth_api.refresh(pair["refresh_token"])).json
        await asyncio.sleep(1.1)
    async with auth_home.running() as auth_api:
        again = await auth_api.refresh(pair["refresh_token"])
        assert (again.status, again.json) == (200, lost)
        assert (await auth_api.call("GET", "/users/me", lost["access_token"])).status == 200
        assert (await auth_api.refresh(lost["refresh_token"])).status == 200


async def test_oldest_session_ends_beyond_the_most(auth_home: AuthHome) -> None:
    """A script that signs in for each call would fill the database with sessions that nobody can list."""
    async with auth_home.running(sessions_per_user=2) as auth_api:
        pairs = [await auth_api.signed_in_user("alice@email.com")]
        pairs += [(await auth_api.sign_in("alice@email.com")).json for _ in range(2)]
        listed = (await auth_api.call("GET", "/sessions", pairs[2]["access_token"])).json["sessions"]
        assert [one["id"] for one in listed] == [pairs[2]["session_id"], pairs[1]["session_id"]]
        told = (await auth_api.call("GET", "/revocations")).json["session_ids"]
        assert told == [pairs[0]["session_id"]]
        assert (await auth_api.refresh(pairs[0]["refresh_token"])).refusal[1] == "session_revoked"


async def test_session_that_time_ends_is_told(auth_home: AuthHome) -> None:
    """Gateways would keep its sockets open for as long as the connection holds."""
    async with auth_home.running() as auth_api:
        pair = await auth_api.signed_in_user("alice@email.com")
        spared = (await auth_api.sign_in("alice@email.com")).json
        expire(auth_home, pair["session_id"])
        async with asyncio.timeout(5):
            while not (told := (await auth_api.call("GET", "/revocations")).json["session_ids"]):  # noqa: ASYNC110 - auth is waited for
                await asyncio.sleep(0.05)
        assert told == [pair["session_id"]]
        assert (await auth_api.call("GET", "/users/me", spared["access_token"])).status == 200


async def test_access_token_does_not_outlive_its_session(auth_home: AuthHome) -> None:
    """Where sessions are short, their tokens would be good after them wherever auth is not asked."""
    async with auth_home.running(access_token_seconds=600, refresh_token_seconds=60) as auth_api:
        pair = await auth_api.signed_in_user("alice@email.com")
        body = jwt.decode(pair["access_token"], options={"verify_signature": False})
        assert body["exp"] - body["iat"] == pair["expires_in"] == 60


@pytest.mark.parametrize("token", ["", "made up", "x" * 1_000])
async def test_unknown_refresh_token_is_refused(auth_api: AuthApi, token: str) -> None:
    """A made-up token would crash the request, or be taken."""
    assert (await auth_api.refresh(token)).refusal[:2] == (401, "unauthenticated")


@pytest.mark.parametrize("token", ["\ud800", "x" * 1_001])
async def test_what_is_no_refresh_token_is_refused_by_name(auth_api: AuthApi, token: str) -> None:
    """Any number of bytes would be hashed for a client that sends the wrong variable."""
    assert (await auth_api.refresh(token)).refusal[:2] == (422, "invalid")


async def test_sign_out_ends_this_device_alone(auth_api: AuthApi) -> None:
    """Users could not sign out, or would sign out everywhere."""
    first = await auth_api.signed_in_user("alice@email.com")
    second = (await auth_api.sign_in("alice@email.com")).json
    assert (await auth_api.call("DELETE", "/sessions/current", first["access_token"])).status == 204
    assert (await auth_api.call("GET", "/users/me", first["access_token"])).refusal[1] == "session_revoked"
    assert (await auth_api.refresh(first["refresh_token"])).refusal[1] == "session_revoked"
    assert (await auth_api.refresh(second["refresh_token"])).status == 200


async def test_only_own_sessions_are_revoked(auth_api: AuthApi) -> None:
    """Anybody could sign others out; a lost phone would stay signed in."""
    alice = await auth_api.signed_in_user("alice@email.com")
    phone = (await auth_api.sign_in("alice@email.com")).json
    bob = await auth_api.signed_in_user("bob@email.com")
    path = f"/sessions/{phone['session_id']}"
    assert (await auth_api.call("DELETE", path, bob["access_token"])).refusal[:2] == (404, "not_found")
    assert (await auth_api.call("DELETE", path, alice["access_token"])).status == 204
    assert (await auth_api.call("DELETE", path, alice["access_token"])).refusal[:2] == (404, "not_found")
    assert (await auth_api.call("DELETE", "/sessions/x", alice["access_token"])).refusal == (
        422,
        "invalid",
        "id",
    )
    assert (await auth_api.call("GET", "/users/me", phone["access_token"])).refusal[1] == "session_revoked"


async def test_ended_sessions_are_told_by_position(auth_api: AuthApi) -> None:
    """Sockets of a revoked session would stay open."""
    pairs = [await auth_api.signed_in_user(f"{number}@email.com") for number in range(3)]
    assert (await auth_api.call("GET", "/revocations?after=-1")).json == {"session_ids": [], "position": 0}
    for pair in pairs:
        await auth_api.call("DELETE", "/sessions/current", pair["access_token"])
    ids = [pair["session_id"] for pair in pairs]
    assert (await auth_api.call("GET", "/revocations?after=1")).json == {
        "session_ids": ids[1:],
        "position": 3,
    }
    assert (await auth_api.call("GET", "/revocations?after=-1")).json == {"session_ids": [], "position": 3}
    assert (await auth_api.call("GET", "/revocations?after=-2")).refusal == (422, "invalid", "after")
    assert (await auth_api.call("GET", f"/revocations?after={2**64}")).refusal == (422, "invalid", "after")


@on_one_engine
@pytest.mark.parametrize(
    "path", ["/users/me", "/users/all", "/users/search?q=a", "/users/by-email?email=a", "/sessions"]
)
async def test_without_a_good_token_nothing_is_told(auth_api: AuthApi, path: str) -> None:
    """Strangers could read the directory."""
    pair = await auth_api.signed_in_user("alice@email.com")
    for header in ("", "Bearer", "Bearer x.y.z", f"Basic {pair['access_token']}", pair["access_token"]):
        answer = await auth_api.call("GET", path, headers={"authorization": header})
        assert answer.refusal[:2] == (401, "unauthenticated")


async def test_refresh_tokens_and_passwords_are_not_stored(auth_api: AuthApi, auth_home: AuthHome) -> None:
    """Whoever reads a backup could sign in as anybody."""
    pair = await auth_api.signed_in_user("alice@email.com")
    stored = auth_home.stored()
    assert b"alice@email.com" in stored
    assert PASSWORD.encode() not in stored
    assert pair["refresh_token"].encode() not in stored
    assert pair["access_token"].encode() not in stored


async def test_imported_password_is_renewed_at_sign_in(auth_api: AuthApi, auth_home: AuthHome) -> None:
    """The monolith's users could not sign in, or would keep their weak hashes for ever."""
    await auth_api.sign_up("alice@email.com")
    imported = bcrypt.hashpw(b"old password", bcrypt.gensalt(4)).decode()
    auth_home.execute("UPDATE users SET password_hash = ?", imported)
    assert (await auth_api.sign_in("alice@email.com", "wrong password")).status == 401
    for _ in range(2):
        assert (await auth_api.sign_in("alice@email.com", "old password")).status == 201
        [(stored,)] = auth_home.execute("SELECT password_hash FROM users")
        assert stored.startswith("$argon2id$")


async def test_wrong_passwords_are_limited_per_account_and_address(auth_home: AuthHome) -> None:
    """Passwords could be guessed without end; or a stranger's guesses would keep the owner out."""
    thief, owner = {"x-client-address": "192.0.2.1"}, {"x-client-address": "192.0.2.2"}
    async with auth_home.running(wrong_passwords_per_account=3) as auth_api:
        await auth_api.sign_up("alice@email.com")
        await auth_api.sign_up("bob@email.com")
        answers = await asyncio.gather(
            *(auth_api.sign_in("alice@email.com", "wrong password", thief) for _ in range(10))
        )
        assert sorted(answer.status for answer in answers) == [401] * 3 + [429] * 7
        right = await auth_api.sign_in("Alice@email.com", headers=thief)
        assert right.refusal[:2] == (429, "rate_limited")
        assert 0 < right.json["retry_after"] <= 20
        assert 1 <= int(right.headers["retry-after"]) <= 20
        assert (await auth_api.sign_in("bob@email.com", headers=thief)).status == 201
        for _ in range(5):
            assert (await auth_api.sign_in("alice@email.com", headers=owner)).status == 201


@on_one_engine
async def test_known_devices_are_spared_what_strangers_do(auth_home: AuthHome) -> None:
    """An attack from many machines would slow the owner down at home, also after a restart of auth."""
    own = {"x-client-address": "2001:db8:1:2::1", "x-client-agent": "a browser"}
    async with auth_home.running() as auth_api:
        await auth_api.sign_up("alice@email.com")
        assert (await auth_api.sign_in("alice@email.com", headers=own)).status == 201
    async with auth_home.running(wrong_passwords_before_slowing=1) as auth_api:
        for number in range(2):
            stranger = {"x-client-address": f"192.0.2.{number}"}
            assert (await auth_api.sign_in("alice@email.com", "wrong password", stranger)).status == 401
        began = time.monotonic()
        at_home = own | {"x-client-address": "2001:db8:1:2::9"}
        assert (await auth_api.sign_in("alice@email.com", headers=at_home)).status == 201
        assert time.monotonic() - began < SLOW_SECONDS
        elsewhere = own | {"x-client-address": "2001:db8:9::1"}
        assert (await auth_api.sign_in("alice@email.com", headers=elsewhere)).status == 201
        assert time.monotonic() - began >= SLOW_SECONDS


async def test_each_failed_sign_in_is_one_event(auth_home: AuthHome) -> None:
    """Operators could not see an attack, whom it is aimed at, and from where."""
    client = {"x-client-address": "192.0.2.1"}
    with capture_logs() as logs:
        async with auth_home.running(wrong_passwords_per_account=1) as auth_api:
            alice = (await auth_api.sign_up("alice@email.com")).json["id"]
            await auth_api.sign_in("Alice@email.com", "wrong password", client)
            await auth_api.sign_in("alice@email.com", "wrong password", client)
            await auth_api.sign_in("Nobody@email.com", "wrong password", client)
            await auth_api.sign_in("no email", "wrong password", client)
            await auth_api.sign_in("alice@email.com")
    events = [line for line in logs if line["event"] == "sign_in_failed"]
    hashes = [hashlib.sha256(text).hexdigest() for text in (b"nobody@email.com", b"no email")]
    assert [(line.get("user_id"), line.get("email_hash"), line["reason"]) for line in events] == [
        (alice, None, "wrong_password"),
        (alice, None, "rate_limited"),
        (None, hashes[0], "unknown_email"),
        (None, hashes[1], "invalid"),
    ]
    assert {line["address"] for line in events} == {"192.0.2.1"}
    assert {line["log_level"] for line in events} == {"warning"}
    assert "email.com" not in str(events).lower()
    assert "wrong password" not in str(events)


async def test_wrong_passwords_and_sign_ups_are_limited_per_address(auth_home: AuthHome) -> None:
    """One machine could try a password on every account, or fill the directory."""
    one, other = {"x-client-address": "192.0.2.1"}, {"x-client-address": "192.0.2.2"}
    async with auth_home.running(wrong_passwords_per_address=2, sign_ups_per_address=2) as auth_api:
        made = [(await auth_api.sign_up(f"{number}@email.com", one)).status for number in range(3)]
        assert made == [201, 201, 429]
        assert (await auth_api.sign_up("9@email.com", other)).status == 201
        tried = [(await auth_api.sign_in(f"{n}@email.com", "wrong password", one)).status for n in range(3)]
        assert tried == [401, 401, 429]
        assert (await auth_api.sign_in("0@email.com", headers=one)).status == 429
        assert (await auth_api.sign_in("0@email.com", headers=other)).status == 201


async def test_searches_are_limited_per_user_and_per_address(auth_home: AuthHome) -> None:
    """Anybody with an account could copy the directory, or learn which emails have accounts."""
    one, other = {"x-client-address": "192.0.2.1"}, {"x-client-address": "192.0.2.2"}
    paths = [
        "/users/search?q=a",
        "/users/search?q=a&offset=1",
        "/users/by-email?email=a@b.test",
        "/users/all",
    ]
    async with auth_home.running(searches_per_user=4, searches_per_address=6) as auth_api:
        alice, bob = [
            (await auth_api.signed_in_user(f"{name}@b.test"))["access_token"] for name in ("alice", "bob")
        ]

        async def search(token: str, path: str, address: dict[str, str]) -> int:
            return (await auth_api.call("GET", path, token, headers=address)).status

        assert [await search(alice, path, one) for path in paths] == [200, 200, 404, 200]
        for path in paths:
            assert await search(alice, path, other) == 429
        assert [await search(bob, paths[0], one) for _ in range(3)] == [200, 200, 429]
        assert await search(bob, paths[0], other) == 200
        refused = await auth_api.call("GET", paths[0], alice, headers=other)
        assert refused.json["code"] == "rate_limited"
        assert 0 < refused.json["retry_after"] <= 15


async def test_changes_of_a_profile_are_limited(auth_home: AuthHome) -> None:
    """One user who renames without end would keep the one writer of all accounts busy."""
    async with auth_home.running(profile_changes_per_user=2) as auth_api:
        alice, bob = [
            (await auth_api.signed_in_user(f"{name}@b.test"))["access_token"] for name in ("alice", "bob")
        ]
        changes = [await auth_api.call("PATCH", "/users/me", alice, json={"city": "O"}) for _ in range(3)]
        assert [one.status for one in changes] == [200, 200, 429]
        assert (await auth_api.call("PATCH", "/users/me", bob, json={"city": "O"})).status == 200


async def test_rates_can_be_off(auth_home: AuthHome) -> None:
    """Imports and benchmarks would measure the limits."""
    limits = {"wrong_passwords_per_account": 1, "wrong_passwords_per_address": 1, "sign_ups_per_address": 1}
    async with auth_home.running(rates=False, **limits) as auth_api:
        for number in range(3):
            assert (await auth_api.sign_up(f"{number}@email.com")).status == 201
            assert (await auth_api.sign_in("0@email.com", "wrong password")).status == 401


@on_one_engine
async def test_flood_of_sign_ins_is_refused_and_not_queued(auth_home: AuthHome) -> None:
    """All would wait for minutes instead of a few being told to come back."""
    costs = {"argon2_time_cost": 3, "argon2_memory_kib": 16_384, "hashing_threads": 1, "hashing_queue": 2}
    async with auth_home.running(rates=False, **costs) as auth_api:
        answers = await asyncio.gather(*(auth_api.sign_in(f"{n}@email.com", "a password") for n in range(30)))
        statuses = {answer.status for answer in answers}
        assert statuses == {401, 503}
        refused = next(answer for answer in answers if answer.status == 503)
        assert refused.json["code"] == "overloaded"
        assert refused.json["retry_after"] > 0


async def test_session_ends_when_nobody_refreshes_it(auth_home: AuthHome) -> None:
    """A forgotten device would stay signed in for ever."""
    async with auth_home.running() as auth_api:
        pair = await auth_api.signed_in_user("alice@email.com")
        expire(auth_home, pair["session_id"])
        assert (await auth_api.refresh(pair["refresh_token"])).refusal[1] == "session_revoked"
        assert (await auth_api.call("GET", "/users/me", pair["access_token"])).refusal[1] == "session_revoked"


def expire(auth_home: AuthHome, session_id: str) -> None:
    """Sets a session back by as long as it lives."""
    auth_home.execute(
        "UPDATE sessions SET expires_at = expires_at - 2592000 * 1000000 WHERE id = ?", UUID(session_id).bytes
    )
