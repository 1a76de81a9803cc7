"""The queue that is fair between senders."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from palaver.contracts.ids import new_id
from palaver.messenger.domain import Membership
from palaver.messenger.pending_send import PendingSend
from palaver.messenger.realtime.fair_queue import FairQueue
from tests.harness.noted_replies import NotedReply

MEMBERSHIP = Membership(new_id(), True, 1, frozenset())


def request(sender: int, number: int, size: int = 1) -> PendingSend:
    """A request with as many messages, whose place among the sender's own is its number."""
    texts = ["text"] * size
    reply = NotedReply(number)
    return PendingSend(MEMBERSHIP, bytes([sender]) * 16, [new_id() for _ in texts], texts, reply)


def number_of(send: PendingSend) -> int:
    """The number that a request was made with."""
    assert isinstance(send.reply, NotedReply)
    return send.reply.number


def senders(taken: Sequence[PendingSend]) -> dict[int, int]:
    """Messages by sender."""
    found: dict[int, int] = {}
    for send in taken:
        found[send.sender_id[0]] = found.get(send.sender_id[0], 0) + len(send.texts)
    return found


def test_one_sender_alone_fills_the_batch() -> None:
    """A quiet server would be slow for its only user."""
    queue = FairQueue(0.125)
    for number in range(1_000):
        queue.put(request(1, number))
    assert [number_of(send) for send in queue.take(800)] == list(range(800))
    assert queue.messages == 200


def test_a_hot_sender_leaves_room_while_others_wait() -> None:
    """One who floods would delay everybody (promise P7)."""
    queue = FairQueue(0.125)
    for number in range(5_000):
        queue.put(request(1, number))
    for sender in range(2, 12):
        queue.put(request(sender, 0))
    taken = senders(queue.take(800))
    assert taken[1] == 100
    assert {sender: taken[sender] for sender in range(2, 12)} == dict.fromkeys(range(2, 12), 1)


def test_those_behind_a_full_batch_come_first_in_the_next() -> None:
    """With many senders the last ones would starve."""
    queue = FairQueue(0.5)
    for number in range(3):
        for sender in range(1, 9):
            queue.put(request(sender, number, 2))
    seen: list[int] = []
    for _ in range(4):
        seen += senders(queue.take(4))
    assert sorted(seen) == list(range(1, 9))


def test_a_request_is_never_split() -> None:
    """Of one request a part could be stored without the rest."""
    queue = FairQueue(0.125)
    for sender in (1, 2):
        queue.put(request(sender, 0, 100))
    assert senders(queue.take(8)) == {1: 100}
    assert senders(queue.take(8)) == {2: 100}


@given(
    sizes=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 30)), max_size=60),
    most=st.integers(1, 50),
    share=st.floats(0.01, 1),
)
def test_nothing_is_lost_and_each_senders_order_is_kept(
    sizes: list[tuple[int, int]], most: int, share: float
) -> None:
    """Messages would vanish, or stand in another order than they were sent."""
    queue = FairQueue(share)
    for number, (sender, size) in enumerate(sizes):
        queue.put(request(sender, number, size))
    taken: list[PendingSend] = []
    while batch := queue.take(most):
        assert len(batch) == 1 or sum(len(send.texts) for send in batch[:-1]) < most
        taken += batch
    assert queue.messages == 0
    assert len(taken) == len(sizes)
    for sender in range(1, 5):
        own = [number_of(send) for send in taken if send.sender_id[0] == sender]
        assert own == sorted(own)
