"""Commands to Redis, with bounded waits. While it is away they fail at once, and it is looked for with
growing pauses."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.connection import AbstractConnection, ConnectionPool, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError

from palaver.runtime.backoff import pause_after
from palaver.runtime.redis import metrics
from palaver.runtime.redis.url import RedisAddress
from palaver.runtime.startup import StartError
from palaver.runtime.telemetry.configuration import log

# One answer of Redis. One that is stalled, or behind a cut network, is found by it
ANSWER_SECONDS = 1.0
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 0.5
CONNECTIONS = 32


class RedisAwayError(Exception):
    """Redis does not answer."""


class RedisClient:
    """One Redis of a service. Logs once that it is lost, and once that it is back."""

    def __init__(self, address: RedisAddress) -> None:
        options: dict[str, Any] = {"connection_class": SSLConnection} if address.is_encrypted else {}
        self._pool = ConnectionPool(
            host=address.host,
            port=address.port,
            db=address.database,
            username=address.user or None,
            password=address.password or None,
            protocol=2,
            socket_timeout=ANSWER_SECONDS,
            socket_connect_timeout=ANSWER_SECONDS,
            # A connection that was killed while nobody used it is no loss; a late answer is not waited for
            # twice
            retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
            max_connections=CONNECTIONS,
            **options,
        )
        self._redis = Redis(connection_pool=self._pool)
        self._address = address
        # Databases share their channels
        self.prefix = b"palaver:%d:" % address.database
        self._failures = 0
        self._next_attempt = 0.0

    async def open(self, setting: str) -> None:
        """Looks once whether Redis is there; where it is not, it may come later.

        Raises `StartError`, which names `setting`, where it refuses the password.
        """
        try:
            await self._redis.ping()
        except (AuthenticationError, NoPermissionError):
            raise StartError(f"setting {setting}: Redis refuses its user or password") from None
        except (RedisError, OSError) as error:
            self._note_failure(error)
        else:
            self._note_success()

    async def close(self) -> None:
        """Closes all connections."""
        await self._redis.aclose()
        await self._pool.disconnect()

    @property
    def is_up(self) -> bool:
        """Whether the last command was answered."""
        return self._failures == 0

    async def run(self, fill: Callable[[Pipeline], Any], *, atomic: bool = True) -> list[Any]:
        """The replies to the commands that `fill` puts into a pipeline. `atomic`: between them nobody else's
        is carried out.

        Raises `RedisAwayError`.
        """
        if self._failures and asyncio.get_running_loop().time() < self._next_attempt:
            raise RedisAwayError
        try:
            async with self._redis.pipeline(transaction=atomic) as pipeline:
                fill(pipeline)
                replies: list[Any] = await pipeline.execute()
        except (RedisError, OSError) as error:
            self._note_failure(error)
            raise RedisAwayError from error
        self._note_success()
        return replies

    async def is_usable(self) -> bool:
        """Whether Redis answers now."""
        try:
            await self.run(lambda pipeline: pipeline.ping(), atomic=False)
        except RedisAwayError:
            return False
        return True

    def new_connection(self) -> AbstractConnection:
        """A connection of the caller's own, not connected yet."""
        connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call] # redis-py's own
        return connection

    def _note_success(self) -> None:
        if self._failures:
            log.info("redis_returned", redis=repr(self._address))
        self._failures = 0
        metrics.UP.set(1)

    def _note_failure(self, error: Exception) -> None:
        if not self._failures:
            # Not what it says: it may repeat what was sent
            log.warning("redis_lost", redis=repr(self._address), cause=type(error).__name__)
            metrics.LOSSES.inc()
            metrics.UP.set(0)
        self._failures += 1
        self._next_attempt = asyncio.get_running_loop().time() + pause_of(self._failures)


def pause_of(failures: int) -> float:
    """Seconds until Redis is looked for again, which are not the same for all who lost it."""
    return pause_after(failures, first=FIRST_PAUSE, longest=LONGEST_PAUSE, jitter=random.uniform(0.5, 1))  # noqa: S311 - no secret
