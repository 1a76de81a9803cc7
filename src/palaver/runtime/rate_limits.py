"""How often something may happen: a port, and token buckets in this process. Sans-I/O, without a clock."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol

MOST_KEYS = 100_000

# Whom a rate is counted for. Plain enough to be shared with other processes
Key = str | bytes


class RateLimiter(Protocol):
    """One rate and one burst for each key: `burst` at once, then `rate` a second.

    It answers at once, from what this process knows: a send must not wait for a network. An adapter that
    shares its rates with other replicas does so between `start` and `stop`, in batches. `now` is in seconds
    of any clock that does not jump; one that goes backwards fills nothing.
    """

    async def start(self) -> None:
        """Begins to share what is taken, where the adapter does."""
        ...

    async def stop(self) -> None:
        """Shares what is left, and ends."""
        ...

    def peek(self, key: Key, now: float, amount: float = 1) -> float:
        """The seconds after which `take` would grant `amount`; 0 where it would now. Changes nothing."""
        ...

    def take(self, key: Key, now: float, amount: float = 1) -> float:
        """Takes `amount` and returns 0; or takes nothing and returns the seconds to wait."""
        ...

    def give_back(self, key: Key, amount: float = 1) -> None:
        """Undoes a `take`."""
        ...


class Unlimited:
    """A `RateLimiter` that grants all, for where rates are switched off."""

    async def start(self) -> None:
        """See `RateLimiter.start`."""

    async def stop(self) -> None:
        """See `RateLimiter.stop`."""

    def peek(self, _key: Key, _now: float, _amount: float = 1) -> float:
        """0."""
        return 0.0

    def take(self, _key: Key, _now: float, _amount: float = 1) -> float:
        """0."""
        return 0.0

    def give_back(self, _key: Key, _amount: float = 1) -> None:
        """Does nothing."""


@dataclass(slots=True)
class _Bucket:
    level: float
    filled_at: float


class TokenBuckets:
    """A `RateLimiter` of this process alone: one token bucket for each key.

    At most `most_keys` buckets are kept: the key that was used longest ago is forgotten, and starts with a
    full one.
    """

    def __init__(self, rate: float, burst: float, most_keys: int = MOST_KEYS) -> None:
        self.rate = rate
        self.burst = burst
        self._most_keys = most_keys
        self._buckets: OrderedDict[Key, _Bucket] = OrderedDict()

    async def start(self) -> None:
        """See `RateLimiter.start`. It shares with no other process."""

    async def stop(self) -> None:
        """See `RateLimiter.stop`."""

    def __len__(self) -> int:
        """How many keys are remembered."""
        return len(self._buckets)

    def peek(self, key: Key, now: float, amount: float = 1) -> float:
        """See `RateLimiter.peek`."""
        bucket = self._buckets.get(key)
        if bucket is None:
            return 0.0
        # More than a full bucket is granted by a full one, which then is in debt: else it would never be
        missing = min(amount, self.burst) - self._level(bucket, now)
        return max(0.0, missing / self.rate)

    def take(self, key: Key, now: float, amount: float = 1) -> float:
        """See `RateLimiter.take`."""
        wait = self.peek(key, now, amount)
        if wait > 0:
            self._buckets.move_to_end(key)
            return wait
        bucket = self._bucket(key, now)
        bucket.level = self._level(bucket, now) - amount
        bucket.filled_at = max(bucket.filled_at, now)
        return 0.0

    def give_back(self, key: Key, amount: float = 1) -> None:
        """See `RateLimiter.give_back`."""
        bucket = self._buckets.get(key)
        if bucket is not None:
            bucket.level = min(self.burst, bucket.level + amount)

    def set_level(self, key: Key, now: float, level: float) -> None:
        """What all replicas together have left of a key's bucket: less than 0 where they granted too much."""
        bucket = self._bucket(key, now)
        bucket.level = min(self.burst, level)
        bucket.filled_at = max(bucket.filled_at, now)

    def _level(self, bucket: _Bucket, now: float) -> float:
        return min(self.burst, bucket.level + max(0.0, now - bucket.filled_at) * self.rate)

    def _bucket(self, key: Key, now: float) -> _Bucket:
        bucket = self._buckets.get(key)
        if bucket is not None:
            self._buckets.move_to_end(key)
            return bucket
        if len(self._buckets) >= self._most_keys:
            self._buckets.popitem(last=False)
        bucket = self._buckets[key] = _Bucket(self.burst, now)
        return bucket
