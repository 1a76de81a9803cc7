"""The keys that sign access tokens."""

import time

import pytest

from palaver.auth.keys import MARGIN_SECONDS, RELOAD_SECONDS, Keys, ensure_key, rotate
from palaver.contracts.errors import UNAVAILABLE, PalaverError
from palaver.contracts.ids import new_id
from palaver.contracts.times import now_us
from palaver.runtime.sql.database import Database
from palaver.runtime.tokens import Claims, TokenVerifier, sign_token

LIVES = 100
SECOND = 1_000_000


class Clock:
    """A clock that stands until it is set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


async def kids(keys: Keys) -> list[str]:
    return [key["kid"] for key in (await keys.jwks())["keys"]]


async def test_first_start_makes_one_key(database: Database) -> None:
    """Nobody could sign in to a new Palaver; or each start would make another key."""
    keys = Keys(database, LIVES, time.monotonic)
    with pytest.raises(PalaverError) as caught:
        await keys.signing()
    assert caught.value.kind is UNAVAILABLE
    for _ in range(2):
        await database.write(ensure_key, now_us())
    await keys.load()
    assert len(await kids(keys)) == 1


async def test_old_tokens_live_on_after_a_rotation(database: Database) -> None:
    """A rotation of keys would sign everybody out."""
    first = await database.write(rotate, now_us())
    keys = Keys(database, LIVES, time.monotonic)
    await keys.load()
    claims = Claims(new_id(), new_id(), now_us() // SECOND, now_us() // SECOND + LIVES)
    old = await keys.signing()
    second = await database.write(rotate, now_us())
    await keys.load()
    new = await keys.signing()
    assert (old.kid, new.kid) == (first, second)
    assert await kids(keys) == [second, first]
    for key in (old, new):
        assert (
            await TokenVerifier(keys.jwks, LIVES).verify(sign_token(claims, key.private, key.kid)) == claims
        )


async def test_revoking_ends_all_earlier_keys(database: Database) -> None:
    """A leaked key, also one that was rotated before the leak was known, would sign good tokens for long."""
    earlier = [await database.write(rotate, now_us()) for _ in range(2)]
    keys = Keys(database, LIVES, time.monotonic)
    await keys.load()
    assert (await keys.jwks())["revoked"] == []
    new = await database.write(rotate, now_us(), True)
    await keys.load()
    assert await kids(keys) == [new]
    assert sorted((await keys.jwks())["revoked"]) == sorted(earlier)
    last = await database.write(rotate, now_us())
    await keys.load()
    assert await kids(keys) == [last, new]


async def test_retired_key_goes_when_its_last_token_has(database: Database) -> None:
    """A key that leaked and was rotated would be good for ever."""
    await database.write(rotate, now_us() - 2 * LIVES * SECOND)
    retired = now_us() - (LIVES + MARGIN_SECONDS) * SECOND
    second = await database.write(rotate, retired)
    keys = Keys(database, LIVES, time.monotonic)
    await keys.load()
    assert await kids(keys) == [second]


async def test_public_half_is_all_that_is_told(database: Database) -> None:
    """Anybody could sign tokens."""
    await database.write(ensure_key, now_us())
    keys = Keys(database, LIVES, time.monotonic)
    await keys.load()
    [told] = (await keys.jwks())["keys"]
    assert set(told) == {"kty", "crv", "x", "kid", "use", "alg"}
    assert (told["kty"], told["crv"], told["alg"]) == ("OKP", "Ed25519", "EdDSA")


async def test_rotation_is_noticed_within_a_second(database: Database) -> None:
    """A running auth would go on signing with a key that was taken out of use."""
    await database.write(ensure_key, now_us())
    clock = Clock()
    keys = Keys(database, LIVES, clock)
    await keys.load()
    second = await database.write(rotate, now_us())
    assert RELOAD_SECONDS < 1
    clock.now += RELOAD_SECONDS
    assert (await keys.signing()).kid == second
