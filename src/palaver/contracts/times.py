"""Times: microseconds since the Unix epoch inside, RFC 3339 with a fraction and `Z` outside."""

import time
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def now_us() -> int:
    """The wall clock, in microseconds since the epoch."""
    return time.time_ns() // 1000


def rfc3339(us: int) -> str:
    """`us` as `2020-12-13T00:43:34.231222Z`: always six digits of fraction."""
    moment = _EPOCH + timedelta(microseconds=us)
    return moment.isoformat(timespec="microseconds")[:26] + "Z"
