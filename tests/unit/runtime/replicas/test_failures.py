"""Which replica is tried first, after which failures."""

import itertools
import random
from collections import Counter

from palaver.runtime.replicas.addresses import Address, address_at, read_entry
from palaver.runtime.replicas.failures import FIRST_REST_SECONDS, LONGEST_REST_SECONDS, Failures


def replica(name: str) -> Address:
    """An address."""
    return address_at(read_entry(f"{name}:1"), name)


A, B, C = map(replica, ("a", "b", "c"))


def test_those_that_work_are_tried_in_random_order() -> None:
    """All gateways would go to the first messenger of the list."""
    failures = Failures(random.Random(7).random)
    firsts = Counter(failures.in_order([A, B, C], 0.0)[0] for _ in range(3_000))
    assert all(800 < firsts[one] < 1_200 for one in (A, B, C))


def test_one_that_failed_comes_last_for_a_while() -> None:
    """Each call would try the replica that is gone, before one that works."""
    failures = Failures()
    failures.note_failure(A, 10.0)
    assert all(failures.in_order([A, B, C], 10.5)[-1] == A for _ in range(20))
    assert failures.is_resting(A, 10.5)
    assert not failures.is_resting(A, 10.0 + FIRST_REST_SECONDS)
    assert {failures.in_order([A, B], 12.0)[0] for _ in range(100)} == {A, B}


def test_of_those_that_failed_the_least_recent_one_is_tried_first() -> None:
    """After an outage of all, the one that is back would be found last."""
    failures = Failures()
    for now, one in enumerate((B, A, C)):
        failures.note_failure(one, now / 10)
    assert failures.in_order([A, B, C], 0.5) == [B, A, C]


def test_the_more_often_one_fails_the_longer_it_is_passed_over() -> None:
    """A replica that comes and goes would get its share of streams each second."""
    failures = Failures()
    now = 0.0
    rests = []
    for _ in range(8):
        failures.note_failure(A, now)
        rest = next(step / 10 for step in itertools.count() if not failures.is_resting(A, now + step / 10))
        rests.append(rest)
        now += rest
    assert rests == sorted(rests)
    assert (rests[0], rests[-1]) == (FIRST_REST_SECONDS, LONGEST_REST_SECONDS)
    failures.note_success(A)
    failures.note_failure(A, now)
    assert not failures.is_resting(A, now + FIRST_REST_SECONDS)


def test_calls_that_fail_together_are_one_failure() -> None:
    """One second's restart under load would put a replica aside for the longest time."""
    failures = Failures()
    for _ in range(100):
        failures.note_failure(A, 5.0)
    assert not failures.is_resting(A, 5.0 + FIRST_REST_SECONDS)


def test_replicas_that_are_gone_are_forgotten() -> None:
    """Where addresses change with each deployment, memory would fill with those of the past."""
    failures = Failures()
    for one in (A, B):
        failures.note_failure(one, 0.0)
    failures.forget_all_but([B])
    assert not failures.is_resting(A, 0.5)
    assert failures.is_resting(B, 0.5)
