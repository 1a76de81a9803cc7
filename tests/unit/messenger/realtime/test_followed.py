"""How far a replica has followed the commit log."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from palaver.messenger.events import Position
from palaver.messenger.realtime.followed import Delivery, FollowedPositions


def followed_from(number: int) -> FollowedPositions:
    """Of a replica that has followed one writer so far."""
    followed = FollowedPositions()
    followed.begin({1: number})
    return followed


def note(followed: FollowedPositions, *numbers: int) -> None:
    """Transactions of one writer are known."""
    for number in numbers:
        assert followed.note(Position(1, number))


def finish(followed: FollowedPositions, *numbers: int) -> None:
    """Transactions of one writer are delivered."""
    for number in numbers:
        followed.finish(Position(1, number))


def test_what_is_delivered_out_of_order_counts_when_the_hole_is_filled() -> None:
    """A gateway that is cut off would never be sent what stood in the hole."""
    followed = followed_from(5)
    note(followed, 6, 7, 8)
    assert (followed.vector, followed.known, followed.settled) == ({1: 5}, {1: 8}, False)
    finish(followed, 8, 7)
    assert followed.vector == {1: 5}
    assert not followed.settled
    finish(followed, 6)
    assert followed.vector == followed.known == {1: 8}
    assert followed.settled


@given(st.permutations(range(1, 13)), st.integers(0, 12))
def test_the_vector_is_the_longest_prefix_that_is_finished(order: list[int], count: int) -> None:
    """Whoever is cut off would lose messages where it is too long, and get them twice where too short."""
    followed = followed_from(0)
    note(followed, *range(1, 13))
    finished: set[int] = set()
    for number in order[:count]:
        finish(followed, number)
        finished.add(number)
        prefix = next(last for last in range(13) if last + 1 not in finished)
        assert followed.vector == {1: prefix}
        assert followed.settled == (prefix == 12)
        assert all(followed.is_finished(Position(1, one)) == (one in finished) for one in range(1, 13))
        assert not followed.holes()


@given(st.lists(st.tuples(st.integers(1, 2), st.integers(1, 6), st.booleans()), max_size=30))
def test_writers_do_not_wait_for_each_other(steps: list[tuple[int, int, bool]]) -> None:
    """One replica's hanging delivery would keep the positions of all others from moving."""
    followed = FollowedPositions()
    finished: dict[int, set[int]] = {1: set(), 2: set()}
    for writer, number, ends in steps:
        known = followed.note(Position(writer, number))
        assert known or number in finished[writer] or not followed.is_finished(Position(writer, number))
        if ends:
            followed.finish(Position(writer, number))
            finished[writer].add(number)
    for writer, numbers in finished.items():
        prefix = next(last for last in range(8) if last + 1 not in numbers)
        assert followed.vector.get(writer, 0) == prefix


def test_a_transaction_is_delivered_once() -> None:
    """What comes by the bus and from the log would be sent twice."""
    followed = followed_from(5)
    assert not followed.note(Position(1, 5))
    assert followed.note(Position(1, 7))
    assert not followed.note(Position(1, 7))
    finish(followed, 7)
    assert not followed.note(Position(1, 7))
    finish(followed, 7)
    assert followed.vector == {1: 5}
    assert followed.note(Position(1, 6))


def test_a_snapshot_stays_what_it_was() -> None:
    """A gateway would be told of a position that its batch did not reach."""
    followed = followed_from(0)
    before, known = followed.vector, followed.known
    note(followed, 1)
    finish(followed, 1)
    assert (before, known) == ({1: 0}, {1: 0})
    assert followed.vector is not before


def test_a_hole_is_what_nobody_is_delivering() -> None:
    """What the bus has lost would never be read from the log, or all that is slow be read once more."""
    followed = followed_from(0)
    assert not followed.holes()
    note(followed, 2)
    assert followed.holes()
    note(followed, 1)
    assert not followed.holes()
    followed.abandon(Position(1, 1))
    assert followed.holes()
    note(followed, 1)
    finish(followed, 1, 2)
    assert not followed.holes()
    # A writer of whom only a later transaction is known
    followed.note(Position(2, 3))
    assert followed.holes()


async def test_one_can_wait_until_a_position_is_reached() -> None:
    """A resume would end before what it read was delivered live, and be followed by it once more."""
    followed = followed_from(0)
    note(followed, 1, 2, 3)
    waiting = [asyncio.create_task(followed.reached({1: number})) for number in (0, 2, 3)]
    await asyncio.sleep(0)
    assert [task.done() for task in waiting] == [True, False, False]
    finish(followed, 2)
    await asyncio.sleep(0)
    assert [task.done() for task in waiting] == [True, False, False]
    finish(followed, 1)
    await asyncio.wait([waiting[1]], timeout=1)
    assert [task.done() for task in waiting] == [True, True, False]
    finish(followed, 3)
    await asyncio.wait_for(asyncio.gather(*waiting), 1)
    await followed.reached({})


async def test_a_position_that_is_given_up_is_waited_for_by_nobody() -> None:
    """Sockets that resume while a log was trimmed too early would pass messages over for ever."""
    followed = followed_from(0)
    note(followed, 5)
    waiting = asyncio.create_task(followed.reached({1: 5}))
    await asyncio.sleep(0)
    followed.begin(followed.known)
    await asyncio.wait_for(waiting, 1)


def test_a_delivery_ends_with_its_last_part() -> None:
    """A position would be passed while something of it is still being read."""
    followed = followed_from(0)
    note(followed, 1)
    delivery = Delivery(followed, Position(1, 1))
    delivery.add_part()
    delivery.add_part()
    for _ in range(2):
        delivery.finish_part()
        assert followed.vector == {1: 0}
    delivery.finish_part()
    assert followed.vector == {1: 1}


def test_a_delivery_of_which_a_part_failed_is_not_delivered() -> None:
    """What could not be read in a bad moment would count as delivered, and be lost."""
    followed = followed_from(0)
    note(followed, 1)
    delivery = Delivery(followed, Position(1, 1))
    delivery.add_part()
    delivery.abandon()
    delivery.finish_part()
    delivery.finish_part()
    assert followed.vector == {1: 0}
    assert followed.holes()


def test_what_is_not_committed_has_no_position() -> None:
    """Typing would move positions, or break on them."""
    delivery = Delivery(followed_from(0), None)
    delivery.finish_part()
    delivery.abandon()
