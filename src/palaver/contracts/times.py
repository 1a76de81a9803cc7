"""Times: microseconds since the Unix epoch inside, RFC 3339 with a fraction and `Z` outside."""

import time
from functools import lru_cache


def now_us() -> int:
    """The wall clock, in microseconds since the epoch."""
    return time.time_ns() // 1000


def rfc3339(us: int) -> str:
    """`us` as `2020-12-13T00:43:34.231222Z`: always six digits of fraction."""
    seconds, fraction = divmod(us, 1_000_000)
    return f"{_second(seconds)}.{fraction:06d}Z"


@lru_cache(64)
def _second(seconds: int) -> str:
    """The part that all messages of one second share."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
