"""What is remembered of receipts, and until when."""

from dataclasses import dataclass

import pytest

from palaver.contracts.errors import RATE_LIMITED, UNAVAILABLE, PalaverError
from palaver.contracts.ids import new_id
from palaver.gateway.upstream import pending_receipts as module
from palaver.gateway.upstream.pending_receipts import PendingReceipts

CHAT, OTHER = new_id(), new_id()


@dataclass(frozen=True)
class Sender:
    """A socket."""

    number: int
    user_id: bytes = b""
    token: str = ""
    opened_at: int = 5
    proof: bytes = b""


def sockets(receipts: PendingReceipts) -> list[int]:
    """The sockets whose receipts would be sent again."""
    return [receipt.sender.number for receipt in receipts]


def test_too_many_without_the_messenger_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Receipts of an hour without the messenger would fill the gateway's memory (promise P9)."""
    monkeypatch.setattr(module, "MOST_PENDING", 2)
    receipts = PendingReceipts()
    receipts.add(Sender(1), CHAT, 1, 1)
    receipts.add(Sender(2), CHAT, 1, 1)
    with pytest.raises(PalaverError) as refused:
        receipts.add(Sender(3), CHAT, 1, 1)
    assert refused.value.kind is UNAVAILABLE
    # Nothing more to remember
    receipts.add(Sender(2), CHAT, 9, 9)
    assert sockets(receipts) == [1, 2]
    receipts.remove_stored([1])
    receipts.add(Sender(3), CHAT, 1, 1)
    assert sockets(receipts) == [2, 3]


def test_one_user_cannot_take_all_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """One user with receipts of chats that do not exist would have everybody's receipts refused."""
    monkeypatch.setattr(module, "MOST_OF_USER", 2)
    receipts = PendingReceipts()
    first = receipts.add(Sender(1, b"alice"), CHAT, 1, 1)
    receipts.add(Sender(2, b"alice"), CHAT, 1, 1)
    with pytest.raises(PalaverError) as refused:
        receipts.add(Sender(1, b"alice"), OTHER, 1, 1)
    assert (refused.value.kind, refused.value.retry_after) == (RATE_LIMITED, 1.0)
    receipts.add(Sender(3, b"bob"), CHAT, 1, 1)
    receipts.remove_stored([first.number])
    receipts.remove_refused(2, CHAT)
    for chat in (CHAT, OTHER):
        receipts.add(Sender(1, b"alice"), chat, 1, 1)


def test_what_has_arrived_is_forgotten() -> None:
    """Each broken stream would bring all receipts of the gateway's life."""
    receipts = PendingReceipts()
    first, second = receipts.add(Sender(1), CHAT, 1, 1), receipts.add(Sender(1), OTHER, 1, 1)
    receipts.remove_stored([first.number, 77])
    assert [receipt.chat_id for receipt in receipts] == [OTHER]
    receipts.remove_stored([second.number])
    assert len(receipts) == 0
    assert receipts._keys == {}


def test_an_answer_to_an_older_update_forgets_nothing() -> None:
    """What was read last would be unread again after a restart of the messenger."""
    receipts = PendingReceipts()
    first = receipts.add(Sender(1), CHAT, 5, 0).number
    second = receipts.add(Sender(1), CHAT, 0, 3).number
    assert second > first
    receipts.remove_stored([first])
    (left,) = receipts
    # The newest one has all of it, so that its answer is enough
    assert (left.received_seq, left.read_seq, left.number) == (5, 3, second)
    receipts.remove_stored([second])
    assert len(receipts) == 0


def test_what_was_refused_is_forgotten_with_its_number() -> None:
    """A client would get the same error after each break, or the numbers would fill the memory."""
    receipts = PendingReceipts()
    receipts.add(Sender(1), CHAT, 5, 0)
    receipts.remove_refused(1, OTHER)
    assert sockets(receipts) == [1]
    receipts.remove_refused(1, CHAT)
    assert sockets(receipts) == []
    assert receipts._keys == {}
