"""What a service's bootstrap makes where its setting names a Redis. Without one, nothing of Redis is
imported: it would cost a third of a second of the start."""

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from pydantic import SecretStr

from palaver.runtime.rate_limits import RateLimiter, TokenBuckets

if TYPE_CHECKING:
    from palaver.runtime.redis.client import RedisClient


async def open_redis(url: SecretStr, setting: str, stack: contextlib.AsyncExitStack) -> "RedisClient | None":
    """A client of the Redis at `url`, which `stack` closes; None where `url` is empty.

    Raises `StartError`, which names `setting`.
    """
    if not url.get_secret_value():
        return None
    from palaver.runtime.redis.client import RedisClient
    from palaver.runtime.redis.url import redis_address

    client = RedisClient(redis_address(url.get_secret_value(), setting))
    stack.push_async_callback(client.close)
    await client.open(setting)
    return client


def rate_limiter(
    redis: "RedisClient | None", name: str, rate: float, burst: float, clock: Callable[[], float]
) -> RateLimiter:
    """A limiter that all replicas share by its name, or one of this process where there is no Redis."""
    if redis is None:
        return TokenBuckets(rate, burst)
    from palaver.runtime.redis.rates import RedisRates

    return RedisRates(redis, name, rate, burst, clock)
