"""When a node is tried."""

from palaver.messenger.archive.circuit_breaker import (
    FIRST_PAUSE_SECONDS,
    LONGEST_PAUSE_SECONDS,
    CircuitBreaker,
)


def test_a_node_that_fails_is_left_alone_for_a_while() -> None:
    """Threads would wait for it that others need."""
    breaker = CircuitBreaker()
    assert breaker.admits(0.0)
    breaker.fail(0.0)
    assert not breaker.is_closed
    assert not breaker.admits(FIRST_PAUSE_SECONDS / 2)


def test_one_call_probes_it_then_all_are_let_through() -> None:
    """All would try at once whether it is back, or nobody ever."""
    breaker = CircuitBreaker()
    breaker.fail(0.0)
    assert breaker.admits(FIRST_PAUSE_SECONDS)
    assert not breaker.admits(FIRST_PAUSE_SECONDS)
    breaker.succeed()
    assert breaker.is_closed
    assert breaker.admits(FIRST_PAUSE_SECONDS)
    assert breaker.admits(FIRST_PAUSE_SECONDS)


def test_pauses_grow_and_have_an_end() -> None:
    """A node that is away for long would be asked all the time, or one that is back not for hours."""
    breaker = CircuitBreaker()
    now = 0.0
    pauses = []
    for _ in range(20):
        breaker.fail(now)
        waited = 0.0
        while not breaker.admits(now + waited):
            waited += 0.25
        pauses.append(waited)
        now += waited
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE_SECONDS


def test_who_gives_up_leaves_the_probe_to_others() -> None:
    """A call that is cut short would keep a node that works out of use."""
    breaker = CircuitBreaker()
    breaker.fail(0.0)
    assert breaker.admits(1.0)
    breaker.give_up()
    assert breaker.admits(1.0)
