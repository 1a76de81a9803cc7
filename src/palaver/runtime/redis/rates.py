"""Rates that all replicas of a service share."""

import asyncio
import contextlib
import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from palaver.runtime.rate_limits import MOST_KEYS, Key, TokenBuckets
from palaver.runtime.redis import metrics
from palaver.runtime.redis.client import RedisAwayError, RedisClient
from palaver.runtime.telemetry.configuration import log

SHARE_SECONDS = 0.5
KEYS_AT_ONCE = 500
# Of replicas that granted the same burst at once, so many are paid for
MOST_DEBT = 20

# A bucket is one number: when it will be full, in microseconds of Redis' clock. One that is full needs none.
# Takes from each key what a replica has granted (given back: less than 0), and returns the levels.
TAKE = """
local rate, burst, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local levels = {}
for i, key in ipairs(KEYS) do
    local full = math.max(now, tonumber(redis.call('GET', key) or now))
    full = math.min(full + ARGV[3 + i] / rate * 1000000, now + most * burst / rate * 1000000)
    if full > now then
        redis.call('SET', key, string.format('%.0f', full), 'PX', math.ceil((full - now) / 1000))
    else
        redis.call('DEL', key)
        full = now
    end
    levels[i] = string.format('%.6f', burst - (full - now) / 1000000 * rate)
end
return levels
"""


class RedisRates:
    """A `RateLimiter` that answers from the buckets of this process, and shares what was taken.

    Twice a second, all that was taken is taken from buckets in Redis too, and the own ones get their levels.
    So a key is granted, on all replicas together, `burst` at once and `rate` a second; and, on N replicas
    that it uses at the same moment, up to N - 1 times `burst` more, which it pays for with its debt before it
    is granted anything again. While Redis is away each replica grants by itself.

    `name`: of the rate, the same on all replicas. `clock`: the one that callers take `now` from.
    """

    def __init__(
        self,
        client: RedisClient,
        name: str,
        rate: float,
        burst: float,
        clock: Callable[[], float],
        most_keys: int = MOST_KEYS,
    ) -> None:
        self._client = client
        self._prefix = client.prefix + b"rate:" + name.encode() + b":"
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._most_keys = most_keys
        self._buckets = TokenBuckets(rate, burst, most_keys)
        # Taken since it was last shared; and what is on its way
        self._taken: OrderedDict[Key, float] = OrderedDict()
        self._shared_at = clock()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """See `RateLimiter.start`."""
        self._task = asyncio.create_task(self._share_regularly(), name="rates")

    async def stop(self) -> None:
        """See `RateLimiter.stop`."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        with contextlib.suppress(RedisAwayError):
            await self.share()

    def peek(self, key: Key, now: float, amount: float = 1) -> float:
        """See `RateLimiter.peek`."""
        return self._buckets.peek(key, now, amount)

    def take(self, key: Key, now: float, amount: float = 1) -> float:
        """See `RateLimiter.take`."""
        wait = self._buckets.take(key, now, amount)
        if not wait:
            self._note(key, amount)
        return wait

    def give_back(self, key: Key, amount: float = 1) -> None:
        """See `RateLimiter.give_back`."""
        self._buckets.give_back(key, amount)
        self._note(key, -amount)

    async def share(self) -> None:
        """Shares what was taken until now. Raises `RedisAwayError`."""
        taken, self._taken = self._taken, OrderedDict()
        keys = [key for key, amount in taken.items() if amount]
        began, self._shared_at = self._shared_at, self._clock()
        for start in range(0, len(keys), KEYS_AT_ONCE):
            some = keys[start : start + KEYS_AT_ONCE]
            try:
                levels = await self._share_some(some, [taken[key] for key in some])
            except BaseException:
                self._keep(keys[start:], taken, self._shared_at - began)
                raise
            now = self._clock()
            for key, level in zip(some, levels, strict=True):
                self._buckets.set_level(key, now, level - self._taken.get(key, 0.0))

    async def _share_some(self, keys: Sequence[Key], amounts: Sequence[float]) -> list[float]:
        words = [
            *(self._prefix + key_bytes(key) for key in keys),
            self._rate,
            self._burst,
            MOST_DEBT,
            *amounts,
        ]

        def fill(pipeline: Any) -> None:
            pipeline.eval(TAKE, len(keys), *words)

        (levels,) = await self._client.run(fill, atomic=False)
        return [float(level) for level in levels]

    async def _share_regularly(self) -> None:
        while True:
            await asyncio.sleep(SHARE_SECONDS)
            try:
                await self.share()
            except RedisAwayError:
                metrics.RATES_NOT_SHARED.inc()
            except Exception:
                log.exception("rates_not_shared")

    def _note(self, key: Key, amount: float) -> None:
        self._taken[key] = self._taken.get(key, 0.0) + amount
        if len(self._taken) > self._most_keys:
            self._taken.popitem(last=False)

    def _keep(self, keys: Sequence[Key], taken: OrderedDict[Key, float], seconds: float) -> None:
        """Keeps what could not be shared for later, less what has been filled meanwhile."""
        for key in keys:
            left = taken[key] - math.copysign(seconds * self._rate, taken[key])
            if left * taken[key] > 0:
                self._note(key, left)


def key_bytes(key: Key) -> bytes:
    """A key as Redis has it."""
    return key if isinstance(key, bytes) else key.encode()
