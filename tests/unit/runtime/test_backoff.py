"""Pauses after failures in a row."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.runtime.backoff import pause_after


def test_pauses_grow_up_to_the_longest() -> None:
    """Services would hammer one that is down, or come back only after hours."""
    pauses = [pause_after(failures, first=1.0, longest=10.0) for failures in range(1, 7)]
    assert pauses == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert [pause_after(n, first=1.0, longest=99.0, factor=3.0) for n in (1, 2, 3)] == [1.0, 3.0, 9.0]


@pytest.mark.parametrize("failures", [61, 10_000, 10**9])
def test_days_of_failures_have_a_pause_too(failures: int) -> None:
    """A power that is too large for a float would end whoever waits for good."""
    assert pause_after(failures, first=0.1, longest=30.0) == 30.0


@given(st.integers(1, 1_000), st.floats(0, 1, exclude_max=True))
def test_jitter_spreads_from_zero_on(failures: int, jitter: float) -> None:
    """Gateways that lost one messenger at one moment would all come back at one moment."""
    bound = pause_after(failures, first=1.0, longest=10.0)
    assert pause_after(failures, first=1.0, longest=10.0, jitter=jitter) == jitter * bound
