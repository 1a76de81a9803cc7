"""Token buckets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.runtime.rate_limits import TokenBuckets


def test_burst_then_rate() -> None:
    """Users could send either nothing at once, or more than their rate."""
    buckets = TokenBuckets(rate=10, burst=5)
    assert [buckets.take("a", 0) for _ in range(5)] == [0] * 5
    assert buckets.take("a", 0) == pytest.approx(0.1)
    assert buckets.take("a", 0.1) == 0
    assert buckets.take("a", 0.1) == pytest.approx(0.1)


def test_waiting_as_told_is_granted() -> None:
    """A client that came back when it was told to would be refused again."""
    buckets = TokenBuckets(rate=3, burst=7)
    buckets.take("a", 0, 7)
    wait = buckets.take("a", 0, 5)
    assert buckets.take("a", wait, 5) == 0


def test_refusal_takes_nothing() -> None:
    """A client that is refused again and again would never get through."""
    buckets = TokenBuckets(rate=1, burst=1)
    buckets.take("a", 0)
    waits = [buckets.take("a", 0.5) for _ in range(10)]
    assert waits == [pytest.approx(0.5)] * 10


def test_keys_are_apart() -> None:
    """One user's rate would be used up by another."""
    buckets = TokenBuckets(rate=1, burst=1)
    buckets.take("a", 0)
    assert buckets.take("b", 0) == 0


def test_peek_changes_nothing() -> None:
    """Asking would cost as much as doing."""
    buckets = TokenBuckets(rate=1, burst=1)
    assert [buckets.peek("a", 0) for _ in range(3)] == [0] * 3
    assert len(buckets) == 0
    buckets.take("a", 0)
    assert buckets.peek("a", 0) == pytest.approx(1)
    assert buckets.take("a", 1) == 0


def test_what_is_given_back_can_be_taken_again() -> None:
    """Right passwords would count as wrong ones, or a bucket would grow beyond its burst."""
    buckets = TokenBuckets(rate=1, burst=2)
    buckets.take("a", 0, 2)
    buckets.give_back("a")
    assert buckets.take("a", 0) == 0
    assert buckets.take("a", 0) > 0
    for _ in range(9):
        buckets.give_back("a")
    assert buckets.take("a", 0, 2) == 0
    assert buckets.take("a", 0) > 0


def test_more_than_burst_is_granted_by_full_bucket() -> None:
    """A request of more messages than the burst would be refused for ever; it pays with its debt instead."""
    buckets = TokenBuckets(rate=10, burst=5)
    assert buckets.take("a", 0, 20) == 0
    assert buckets.take("a", 0) == pytest.approx(1.6)
    assert buckets.take("a", 1.6) == 0


def test_memory_is_bounded() -> None:
    """A flood from many addresses would fill the memory."""
    buckets = TokenBuckets(rate=1, burst=1, most_keys=100)
    for number in range(1_000):
        buckets.take(number, 0)
        buckets.take("busy", 0)
    assert len(buckets) == 100
    # Who is refused again and again is not forgotten for it
    assert buckets.take("busy", 0) > 0


def test_clock_that_goes_back_fills_nothing() -> None:
    """A corrected clock would give a burst for nothing, or an endless wait."""
    buckets = TokenBuckets(rate=1, burst=2)
    buckets.take("a", 100, 2)
    assert buckets.take("a", 50) == pytest.approx(1)
    assert buckets.take("a", 101) == 0
    assert buckets.take("a", 101) > 0


@given(st.lists(st.tuples(st.floats(0, 2), st.integers(1, 5)), max_size=60))
def test_never_more_than_burst_and_rate(steps: list[tuple[float, int]]) -> None:
    """Some pattern of requests would get more than the rate."""
    buckets = TokenBuckets(rate=4, burst=5)
    now = granted = 0.0
    for pause, amount in steps:
        now += pause
        if buckets.take("a", now, amount) == 0:
            granted += amount
    assert granted <= 5 + 4 * now + 1e-6
