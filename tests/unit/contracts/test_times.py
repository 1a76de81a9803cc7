"""Times."""

import re
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from palaver.contracts.times import now_us, rfc3339


def test_fraction_has_always_six_digits() -> None:
    """Old clients parse a fraction; a whole second without one would break them now and then."""
    assert rfc3339(1_607_820_211_231_222) == "2020-12-13T00:43:31.231222Z"
    assert rfc3339(1_607_820_211_000_000) == "2020-12-13T00:43:31.000000Z"
    assert rfc3339(0) == "1970-01-01T00:00:00.000000Z"


@given(st.integers(0, 253_402_300_799_999_999))
def test_no_microsecond_is_lost(us: int) -> None:
    """Messages would be shown in another order than they were stored in."""
    text = rfc3339(us)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", text)
    since = datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)
    assert (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds == us


def test_now_is_now_in_microseconds() -> None:
    """Everything would be dated in 1970, or far in the future."""
    assert abs(now_us() / 1_000_000 - datetime.now(UTC).timestamp()) < 5
