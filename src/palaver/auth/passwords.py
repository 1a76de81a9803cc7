"""Passwords: argon2id (RFC 9106) in a bounded thread pool. bcrypt hashes of imported users verify too."""

import base64
import contextlib
import functools
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

import bcrypt
from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError
from prometheus_client import Gauge, Histogram

from palaver.contracts.errors import PalaverError
from palaver.runtime.fair_turns import FairTurns, run_in_turn
from palaver.runtime.settings.auth import AuthSettings
from palaver.runtime.telemetry.tracing import tracer

P = ParamSpec("P")
T = TypeVar("T")

# bcrypt reads no further; the library refuses longer ones, the programs that made the hashes cut them off
BCRYPT_BYTES = 72
# They take turns: neither can keep the other waiting
SIGN_INS, SIGN_UPS = "sign-ins", "sign-ups"
SALT_BYTES = 16
HASH_BYTES = 32

_waiting = Gauge("palaver_auth_passwords_waiting", "Passwords that are hashed or wait for it")
_seconds = Histogram(
    "palaver_auth_hashing_seconds",
    "Time that a password's hash takes, without its wait for a thread",
    buckets=(0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5),
)


class Passwords:
    """Hashes and verifies passwords, as many at once as there are cores, with a bounded queue before them.

    The queue is served in rounds over the requesters, which are addresses: one that sends very many waits for
    itself. What nobody waits for any more is not hashed.
    """

    def __init__(self, settings: AuthSettings) -> None:
        self._hasher = PasswordHasher(
            time_cost=settings.argon2_time_cost,
            memory_cost=settings.argon2_memory_kib,
            parallelism=settings.argon2_parallelism,
            hash_len=HASH_BYTES,
            salt_len=SALT_BYTES,
            type=Type.ID,
        )
        self._dummy_hash = dummy_hash(settings)
        threads = settings.hashing_threads or os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="passwords")
        self._turns = FairTurns(threads, settings.hashing_queue_per_address, settings.hashing_queue)
        _waiting.set_function(lambda: self._turns.wanted)

    async def hash(self, password: str) -> str:
        """A new hash of `password`. Raises `rate_limited` and `overloaded`."""
        return await self._run(SIGN_UPS, self._hasher.hash, password)

    async def verify(self, password: str, known: str | None) -> bool:
        """Whether `password` is the one of the hash `known`. Raises `rate_limited` and
        `overloaded`.

        Without a hash (no account has the email) it costs the same: time does not show who has an account.
        """
        if known is None:
            await self._run(SIGN_INS, self._matches, password, self._dummy_hash)
            return False
        return await self._run(SIGN_INS, self._matches, password, known)

    async def rehash(self, password: str, known: str) -> str | None:
        """A new hash of a right password, if its hash `known` is of another kind or cost than today's.

        None otherwise, and where too many wait: the next sign-in will do.
        """
        if not is_bcrypt(known) and not self._hasher.check_needs_rehash(known):
            return None
        with contextlib.suppress(PalaverError):
            return await self._run(SIGN_INS, self._hasher.hash, password)
        return None

    def close(self) -> None:
        """Waits for what is being hashed."""
        self._pool.shutdown()

    def _matches(self, password: str, known: str) -> bool:
        if is_bcrypt(known):
            return bcrypt.checkpw(password.encode()[:BCRYPT_BYTES], known.encode())
        try:
            return self._hasher.verify(known, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, lane: str, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        with tracer.span("hash password") as span:
            submitted = time.perf_counter()
            whole = functools.partial(work, *args, **kwargs)
            result, began = await run_in_turn(self._turns, lane, self._pool, timed, whole)
            span.attributes["palaver.queue_seconds"] = round(began - submitted, 6)
            return result


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """What `work` returns, and when it began by `time.perf_counter`. In a thread of the pool."""
    began = time.perf_counter()
    try:
        return work(), began
    finally:
        _seconds.observe(time.perf_counter() - began)


def is_bcrypt(known: str) -> bool:
    """Whether the hash is of bcrypt, in any of its variants."""
    return known.startswith("$2")


def dummy_hash(settings: AuthSettings) -> str:
    """A hash that costs what others cost to verify, and that no password has."""

    def random(length: int) -> str:
        return base64.b64encode(os.urandom(length)).decode().rstrip("=")

    costs = f"m={settings.argon2_memory_kib},t={settings.argon2_time_cost},p={settings.argon2_parallelism}"
    return f"$argon2id$v=19${costs}${random(SALT_BYTES)}${random(HASH_BYTES)}"
