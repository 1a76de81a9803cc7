"""Limits of rates: one suite over all adapters of the port, then what is an adapter's own."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.runtime.rate_limits import RateLimiter, TokenBuckets, Unlimited
from palaver.runtime.redis.client import RedisClient
from palaver.runtime.redis.rates import RedisRates
from palaver.runtime.redis.url import redis_address

# A limiter of a rate and a burst
MakeLimiter = Callable[[float, float], RateLimiter]


def shared(rate: float, burst: float) -> RateLimiter:
    """One that shares what is taken, where the others cannot be reached: see test_rates of Redis."""
    nowhere = RedisClient(redis_address("redis://127.0.0.1:1", "redis_url"))
    return RedisRates(nowhere, "sends", rate, burst, lambda: 0.0)


ADAPTERS: dict[str, MakeLimiter] = {"in this process": TokenBuckets, "shared": shared}


@pytest.fixture(scope="module", params=ADAPTERS)
def make(request: pytest.FixtureRequest) -> MakeLimiter:
    """What makes limiters of one adapter."""
    return ADAPTERS[request.param]


async def test_sharing_starts_and_stops(make: MakeLimiter) -> None:
    """A service could not run with every adapter, or would not end."""
    limiter = make(1, 1)
    await limiter.start()
    assert limiter.take("a", 0) == 0
    await limiter.stop()


def test_burst_then_rate(make: MakeLimiter) -> None:
    """Users could send either nothing at once, or more than their rate."""
    limiter = make(10, 5)
    assert [limiter.take("a", 0) for _ in range(5)] == [0] * 5
    assert limiter.take("a", 0) == pytest.approx(0.1)
    assert limiter.take("a", 0.1) == 0
    assert limiter.take("a", 0.1) == pytest.approx(0.1)


def test_waiting_as_told_is_granted(make: MakeLimiter) -> None:
    """A client that came back when it was told to would be refused again."""
    limiter = make(3, 7)
    limiter.take("a", 0, 7)
    wait = limiter.take("a", 0, 5)
    assert limiter.take("a", wait, 5) == 0


def test_refusal_takes_nothing(make: MakeLimiter) -> None:
    """A client that is refused again and again would never get through."""
    limiter = make(1, 1)
    limiter.take("a", 0)
    waits = [limiter.take("a", 0.5) for _ in range(10)]
    assert waits == [pytest.approx(0.5)] * 10


def test_keys_are_apart(make: MakeLimiter) -> None:
    """One user's rate would be used up by another."""
    limiter = make(1, 1)
    limiter.take("a", 0)
    assert limiter.take("b", 0) == 0


def test_peek_changes_nothing(make: MakeLimiter) -> None:
    """Asking would cost as much as doing."""
    limiter = make(1, 1)
    assert [limiter.peek("a", 0) for _ in range(3)] == [0] * 3
    limiter.take("a", 0)
    assert limiter.peek("a", 0) == pytest.approx(1)
    assert limiter.take("a", 1) == 0


def test_what_is_given_back_can_be_taken_again(make: MakeLimiter) -> None:
    """Right passwords would count as wrong ones, or a bucket would grow beyond its burst."""
    limiter = make(1, 2)
    limiter.take("a", 0, 2)
    limiter.give_back("a")
    assert limiter.take("a", 0) == 0
    assert limiter.take("a", 0) > 0
    for _ in range(9):
        limiter.give_back("a")
    assert limiter.take("a", 0, 2) == 0
    assert limiter.take("a", 0) > 0


def test_more_than_burst_is_granted_by_full_bucket(make: MakeLimiter) -> None:
    """A request of more messages than the burst would be refused for ever; it pays with its debt instead."""
    limiter = make(10, 5)
    assert limiter.take("a", 0, 20) == 0
    assert limiter.take("a", 0) == pytest.approx(1.6)
    assert limiter.take("a", 1.6) == 0


def test_clock_that_goes_back_fills_nothing(make: MakeLimiter) -> None:
    """A corrected clock would give a burst for nothing, or an endless wait."""
    limiter = make(1, 2)
    limiter.take("a", 100, 2)
    assert limiter.take("a", 50) == pytest.approx(1)
    assert limiter.take("a", 101) == 0
    assert limiter.take("a", 101) > 0


@given(st.lists(st.tuples(st.floats(0, 2), st.integers(1, 5)), max_size=60))
def test_never_more_than_burst_and_rate(make: MakeLimiter, steps: list[tuple[float, int]]) -> None:
    """Some pattern of requests would get more than the rate."""
    limiter = make(4, 5)
    now = granted = 0.0
    for pause, amount in steps:
        now += pause
        if limiter.take("a", now, amount) == 0:
            granted += amount
    assert granted <= 5 + 4 * now + 1e-6


def test_peek_remembers_nobody() -> None:
    """Asking about addresses would fill the memory."""
    buckets = TokenBuckets(rate=1, burst=1)
    buckets.peek("a", 0)
    assert len(buckets) == 0


def test_memory_is_bounded() -> None:
    """A flood from many addresses would fill the memory."""
    buckets = TokenBuckets(rate=1, burst=1, most_keys=100)
    for number in range(1_000):
        buckets.take(str(number), 0)
        buckets.take("busy", 0)
    assert len(buckets) == 100
    # Who is refused again and again is not forgotten for it
    assert buckets.take("busy", 0) > 0


def test_no_limit_grants_all() -> None:
    """An operator who switches rates off would still see refusals."""
    limiter = Unlimited()
    assert [limiter.take("a", 0, 1_000) for _ in range(99)] == [0.0] * 99
    limiter.give_back("a")
    assert limiter.peek("a", 0) == 0
