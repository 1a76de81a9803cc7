"""One chat's messages in the order of their seqs."""

from hypothesis import given
from hypothesis import strategies as st

from palaver.client.order import MOST_HELD, ChatOrder
from palaver.contracts.frames import Message
from tests.harness.client_events import message


def seqs(messages: list[Message]) -> list[int]:
    """Their seqs."""
    return [message.seq for message in messages]


@given(st.permutations(range(1, 9)), st.sets(st.integers(1, 8)), st.lists(st.integers(1, 8)))
def test_any_order_of_arrival_is_told_in_order_and_once(
    arrival: list[int], own: set[int], again: list[int]
) -> None:
    """A user would read answers before questions, or read them twice, or read their own sends as news."""
    order = ChatOrder(0)
    told: list[int] = []
    for seq in [*arrival, *again]:
        told += seqs(order.take(seq, None if seq in own else message(seq)))
    assert told == [seq for seq in range(1, 9) if seq not in own]
    assert not order.is_behind
    assert not order.held


def test_what_waits_behind_a_hole_is_told_in_its_newest_state() -> None:
    """A message edited while it was held back would be shown with its old text."""
    order = ChatOrder(0)
    order.take(2, message(2))
    order.take(2, message(2, edit=2))
    order.take(2, message(2, edit=1))
    assert [m.text for m in order.take(1, message(1))] == ["text 1 0", "text 2 2"]


def test_more_than_can_be_held_is_let_go_and_still_missed() -> None:
    """A chat with a hole would cost memory without end, or what was let go would be lost."""
    order = ChatOrder(0)
    for seq in range(2, MOST_HELD + 100):
        order.take(seq, message(seq))
    assert len(order.held) == MOST_HELD
    told = seqs(order.take(1, message(1)))
    assert told == list(range(1, MOST_HELD + 2))
    assert order.is_behind
    assert order.hole[0] == MOST_HELD + 1


def test_a_hole_that_is_given_up_lets_the_rest_through() -> None:
    """A chat whose hole nobody can fill would stay silent for ever."""
    order = ChatOrder(3)
    order.take(6, message(6))
    assert order.hole == (3, 6)
    assert seqs(order.skip_hole()) == [6]
    assert not order.is_behind
