"""Passwords and their hashes."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from types import SimpleNamespace
from typing import Any

import bcrypt
import pytest

from palaver.auth.passwords import Passwords, dummy_hash
from palaver.contracts.errors import RATE_LIMITED, PalaverError
from palaver.runtime.requester import work_for
from palaver.runtime.settings.auth import AuthSettings
from palaver.runtime.telemetry.tracing import tracer
from tests.harness.tracing import SAMPLED, recording


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


class Held:
    """Passwords whose one thread waits for `go_on`. `hashed`: whose the thread has begun, in order."""

    def __init__(self, passwords: Passwords) -> None:
        self.passwords = passwords
        self.go_on = threading.Event()
        self.hashed: list[str] = []

    def match(self, password: str, _known: str) -> bool:
        """In place of a hash. The password is the name of whose it is."""
        self.hashed.append(password)
        return self.go_on.wait(10)

    def match_one(self, _password: str) -> str:
        """In place of a new hash."""
        self.match("sign-up", "")
        return "a hash"

    async def sign_in(self, name: str) -> asyncio.Task[Any]:
        """Begins to verify a password from an address of that name."""
        return await self.start(name, self.passwords.verify, name, "a hash")

    async def start(
        self, name: str, work: Callable[..., Coroutine[Any, Any, Any]], *args: str
    ) -> asyncio.Task[Any]:
        """Begins some work from an address of that name."""

        async def run() -> Any:
            work_for(name)
            return await work(*args)

        task = asyncio.create_task(run())
        await asyncio.sleep(0)
        return task


@pytest.fixture
def held(settings: AuthSettings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    """One thread, which is busy until it is let go on."""
    few = {"hashing_threads": 1, "hashing_queue": 4, "hashing_queue_per_address": 3}
    held = Held(Passwords(settings.model_copy(update=few)))
    monkeypatch.setattr(held.passwords, "_matches", held.match)
    yield held
    held.go_on.set()
    held.passwords.close()


async def test_queue_is_bounded_for_each_address(held: Held) -> None:
    """One address that sends very many passwords would have everybody else refused."""
    waiting = [await held.sign_in("greedy") for _ in range(4)]
    refused = await held.sign_in("greedy")
    with pytest.raises(PalaverError) as caught:
        await refused
    assert caught.value.kind is RATE_LIMITED
    assert caught.value.retry_after > 0
    # Whoever gives up does not free the thread that is still in use
    waiting[0].cancel()
    await asyncio.wait([waiting[0]])
    other = await held.sign_in("alice")
    assert held.hashed == ["greedy"]
    held.go_on.set()
    await asyncio.gather(*waiting[1:], other)
    assert held.hashed == ["greedy", "greedy", "alice", "greedy", "greedy"]


async def test_sign_ups_do_not_keep_sign_ins_waiting(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of new accounts, from however many addresses, would keep everybody from signing in."""
    monkeypatch.setattr(held.passwords, "_hasher", SimpleNamespace(hash=held.match_one))
    waiting = [await held.sign_in("first")]
    waiting += [await held.start("sign-up", held.passwords.hash, "x") for _ in range(3)]
    waiting.append(await held.sign_in("alice"))
    held.go_on.set()
    await asyncio.gather(*waiting)
    assert held.hashed == ["first", "sign-up", "alice", "sign-up", "sign-up"]


async def test_what_nobody_waits_for_is_not_hashed(held: Held) -> None:
    """Whoever sends passwords and hangs up would keep the cores busy for nobody."""
    waiting = [await held.sign_in(name) for name in ("first", "gone", "alice")]
    waiting[1].cancel()
    await asyncio.wait([waiting[1]])
    held.go_on.set()
    await asyncio.gather(waiting[0], waiting[2])
    assert held.hashed == ["first", "alice"]


async def test_a_trace_tells_the_wait_from_the_hash(
    settings: AuthSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody could see whether sign-ins are slow because of what a hash costs, or because too many wait."""
    passwords = Passwords(settings.model_copy(update={"hashing_threads": 1}))
    monkeypatch.setattr(passwords, "_matches", lambda *_: time.sleep(0.3))

    async def sign_in() -> None:
        with tracer.serve("sign in", SAMPLED, {}, is_edge=True):
            await passwords.verify("x", "y")

    with recording() as recorded:
        await asyncio.gather(sign_in(), sign_in())
    passwords.close()
    first, second = [span for span in recorded.spans if span.name == "hash password"]
    waited = [span.attributes["palaver.queue_seconds"] for span in (first, second)]
    assert waited[1] > waited[0] + 0.1


async def test_right_password_is_enough_where_no_rehash_fits(held: Held) -> None:
    """A user with a right password would be refused because the server is too busy to renew its hash."""
    waiting = [await held.sign_in("alice") for _ in range(4)]
    rehash = await held.start("alice", held.passwords.rehash, "12345678", imported(b"12345678"))
    assert await rehash is None
    held.go_on.set()
    await asyncio.gather(*waiting)
