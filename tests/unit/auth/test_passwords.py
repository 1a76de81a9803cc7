"""Passwords and their hashes."""

import asyncio
import threading
import time
from collections.abc import Iterator

import bcrypt
import pytest

from palaver.auth.passwords import Passwords, dummy_hash
from palaver.contracts.errors import OVERLOADED, PalaverError
from palaver.runtime.settings import AuthSettings
from palaver.runtime.telemetry.tracing import tracer
from tests.harness.tracing import SAMPLED, keeping


@pytest.fixture
def passwords(settings: AuthSettings) -> Iterator[Passwords]:
    passwords = Passwords(settings)
    yield passwords
    passwords.close()


def imported(password: bytes, prefix: bytes = b"2b") -> str:
    """A bcrypt hash, as cheap as they come."""
    return bcrypt.hashpw(password, bcrypt.gensalt(4)).decode().replace("$2b$", f"${prefix.decode()}$")


async def test_right_password_verifies_and_others_do_not(passwords: Passwords) -> None:
    """Nobody could sign in, or everybody could."""
    known = await passwords.hash("пароль 🔑")
    assert known.startswith("$argon2id$v=19$m=8,t=1,p=1$")
    assert await passwords.verify("пароль 🔑", known) is True
    assert await passwords.verify("пароль 🔒", known) is False
    assert await passwords.verify("пароль 🔑", None) is False
    assert await passwords.verify("пароль 🔑", "no hash at all") is False


async def test_hashes_of_one_password_differ(passwords: Passwords) -> None:
    """A stolen database would show who shares a password, and one guess would open all of them."""
    assert await passwords.hash("12345678") != await passwords.hash("12345678")


@pytest.mark.parametrize("prefix", [b"2a", b"2b", b"2y"])
async def test_imported_passwords_verify_and_are_rehashed(passwords: Passwords, prefix: bytes) -> None:
    """Users of the monolith would have to make new passwords."""
    known = imported(b"12345678", prefix)
    assert await passwords.verify("12345678", known) is True
    assert await passwords.verify("12345679", known) is False
    renewed = await passwords.rehash("12345678", known)
    assert renewed is not None
    assert renewed.startswith("$argon2id$")
    assert await passwords.verify("12345678", renewed) is True


async def test_imported_long_passwords_verify(passwords: Passwords) -> None:
    """Users whose password has more than 72 bytes could not sign in: bcrypt has cut it off."""
    known = imported(b"x" * 72)
    assert await passwords.verify("x" * 100, known) is True


async def test_other_costs_are_rehashed(passwords: Passwords, settings: AuthSettings) -> None:
    """A new setting would hold for new users alone."""
    known = await passwords.hash("12345678")
    assert await passwords.rehash("12345678", known) is None
    dearer = Passwords(settings.model_copy(update={"argon2_memory_kib": 16}))
    renewed = await dearer.rehash("12345678", known)
    dearer.close()
    assert renewed is not None
    assert "m=16," in renewed


async def test_dummy_hash_costs_as_much() -> None:
    """Time would tell who has an account."""
    settings = AuthSettings(argon2_time_cost=2, argon2_memory_kib=8192, hashing_threads=1)
    passwords = Passwords(settings)
    known = await passwords.hash("12345678")

    async def seconds(of: str | None) -> float:
        start = time.perf_counter()
        await passwords.verify("another password", of)
        return time.perf_counter() - start

    somebody = min([await seconds(known) for _ in range(15)])
    nobody = min([await seconds(None) for _ in range(15)])
    passwords.close()
    assert 0.6 < nobody / somebody < 1.6
    # The same parameters and lengths, which is what the time comes from
    assert [len(part) for part in dummy_hash(settings).split("$")] == [len(p) for p in known.split("$")]


async def test_queue_is_bounded(settings: AuthSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of sign-ins would fill the memory, and all would wait for minutes."""
    passwords = Passwords(settings.model_copy(update={"hashing_threads": 1, "hashing_queue": 2}))
    go_on = threading.Event()
    monkeypatch.setattr(passwords, "_matches", lambda *_: go_on.wait(10))
    waiting = [asyncio.create_task(passwords.verify("x", "y")) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(PalaverError) as caught:
        await passwords.verify("x", "y")
    assert caught.value.kind is OVERLOADED
    assert caught.value.retry_after > 0
    # Whoever gives up does not free the place that is still in use
    waiting[0].cancel()
    await asyncio.sleep(0)
    with pytest.raises(PalaverError):
        await passwords.verify("x", "y")
    go_on.set()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert await passwords.verify("x", "y") is True
    passwords.close()


async def test_a_trace_tells_the_wait_from_the_hash(
    settings: AuthSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody could see whether sign-ins are slow because of what a hash costs, or because too many wait."""
    passwords = Passwords(settings.model_copy(update={"hashing_threads": 1}))
    monkeypatch.setattr(passwords, "_matches", lambda *_: time.sleep(0.05))

    async def sign_in() -> None:
        with tracer.serve("sign in", SAMPLED, {}, is_edge=True):
            await passwords.verify("x", "y")

    with keeping() as kept:
        await asyncio.gather(sign_in(), sign_in())
    passwords.close()
    first, second = [span for span in kept.spans if span.name == "hash password"]
    waited = [span.attributes["palaver.queue_seconds"] for span in (first, second)]
    assert waited[1] > waited[0] + 0.025


async def test_right_password_is_enough_where_no_rehash_fits(
    settings: AuthSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user with a right password would be refused because the server is too busy to renew its hash."""
    passwords = Passwords(settings)
    monkeypatch.setattr(passwords, "_most", 0)
    assert await passwords.rehash("12345678", imported(b"12345678")) is None
    passwords.close()
