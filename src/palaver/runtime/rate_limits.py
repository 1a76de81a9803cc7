"""How often something may happen: token buckets. Sans-I/O, without a clock of their own."""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

MOST_KEYS = 100_000


@dataclass(slots=True)
class _Bucket:
    level: float
    filled_at: float


class TokenBuckets:
    """One token bucket for each key: `burst` at once, then `rate` a second.

    `now` is in seconds of any clock that does not jump; one that goes backwards fills nothing. At most
    `most_keys` buckets are kept: the key that was used longest ago is forgotten and starts with a full one.
    """

    def __init__(self, rate: float, burst: float, most_keys: int = MOST_KEYS) -> None:
        self.rate = rate
        self.burst = burst
        self._most_keys = most_keys
        self._buckets: OrderedDict[Hashable, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        """How many keys are remembered."""
        return len(self._buckets)

    def peek(self, key: Hashable, now: float, amount: float = 1) -> float:
        """The seconds after which `take` would grant `amount`; 0 where it would now. Changes nothing."""
        bucket = self._buckets.get(key)
        if bucket is None:
            return 0.0
        # More than a full bucket is granted by a full one, which then is in debt: else it would never be
        missing = min(amount, self.burst) - self._level(bucket, now)
        return max(0.0, missing / self.rate)

    def take(self, key: Hashable, now: float, amount: float = 1) -> float:
        """Takes `amount` and returns 0; or takes nothing and returns the seconds to wait."""
        wait = self.peek(key, now, amount)
        if wait > 0:
            self._buckets.move_to_end(key)
            return wait
        bucket = self._bucket(key, now)
        bucket.level = self._level(bucket, now) - amount
        bucket.filled_at = max(bucket.filled_at, now)
        return 0.0

    def give_back(self, key: Hashable, amount: float = 1) -> None:
        """Undoes a `take`."""
        bucket = self._buckets.get(key)
        if bucket is not None:
            bucket.level = min(self.burst, bucket.level + amount)

    def _level(self, bucket: _Bucket, now: float) -> float:
        return min(self.burst, bucket.level + max(0.0, now - bucket.filled_at) * self.rate)

    def _bucket(self, key: Hashable, now: float) -> _Bucket:
        bucket = self._buckets.get(key)
        if bucket is not None:
            self._buckets.move_to_end(key)
            return bucket
        if len(self._buckets) >= self._most_keys:
            self._buckets.popitem(last=False)
        bucket = self._buckets[key] = _Bucket(self.burst, now)
        return bucket
