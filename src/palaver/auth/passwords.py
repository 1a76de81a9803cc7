"""Passwords: argon2id (RFC 9106) in a bounded thread pool. bcrypt hashes of imported users verify too."""

import asyncio
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

from palaver.contracts.errors import OVERLOADED, PalaverError
from palaver.runtime.settings import AuthSettings
from palaver.runtime.telemetry.tracing import tracer

P = ParamSpec("P")
T = TypeVar("T")

# bcrypt reads no further; the library refuses longer ones, the programs that made the hashes cut them off
BCRYPT_BYTES = 72
RETRY_SECONDS = 1.0
SALT_BYTES = 16
HASH_BYTES = 32

_waiting = Gauge("palaver_auth_passwords_waiting", "Passwords that are hashed or wait for it")
_seconds = Histogram(
    "palaver_auth_hashing_seconds",
    "Time that a password's hash takes, without its wait for a thread",
    buckets=(0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5),
)


class Passwords:
    """Hashes and verifies passwords, as many at once as there are cores, with a bounded queue before them."""

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
        self._most = threads + settings.hashing_queue
        self._pending = 0

    async def hash(self, password: str) -> str:
        """A new hash of `password`. Raises `overloaded`."""
        return await self._run(self._hasher.hash, password)

    async def verify(self, password: str, known: str | None) -> bool:
        """Whether `password` is the one of the hash `known`. Raises `overloaded`.

        Without a hash (no account has the email) it costs the same: time does not show who has an account.
        """
        if known is None:
            await self._run(self._matches, password, self._dummy_hash)
            return False
        return await self._run(self._matches, password, known)

    async def rehash(self, password: str, known: str) -> str | None:
        """A new hash of a right password, if its hash `known` is of another kind or cost than today's.

        None otherwise, and where too many wait: the next sign-in will do.
        """
        if not is_bcrypt(known) and not self._hasher.check_needs_rehash(known):
            return None
        with contextlib.suppress(PalaverError):
            return await self.hash(password)
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

    async def _run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._pending >= self._most:
            raise PalaverError(OVERLOADED, "too many sign-ins at once", retry_after=RETRY_SECONDS)
        with tracer.span("hash password") as span:
            submitted = time.perf_counter()
            future = self._pool.submit(timed, functools.partial(work, *args, **kwargs))
            self._pending += 1
            _waiting.inc()
            loop = asyncio.get_running_loop()
            # Not when the caller gives up: a thread goes on with what it has begun, and its place is not free
            future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._free_place))
            result, began = await asyncio.wrap_future(future)
            span.attributes["palaver.queue_seconds"] = round(began - submitted, 6)
            return result

    def _free_place(self) -> None:
        self._pending -= 1
        _waiting.dec()


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
