"""What is remembered of receipts, and for how long."""

import pytest

from palaver.contracts.errors import UNAVAILABLE, PalaverError
from palaver.contracts.ids import new_id
from palaver.gateway.upstream import pending_receipts as module
from palaver.gateway.upstream.pending_receipts import PendingReceipt, PendingReceipts

CHAT = new_id()
MINUTE_US = 60_000_000


def numbers(receipts: PendingReceipts) -> list[int]:
    """The sockets whose receipts would be said again, were they open."""
    return [key[0] for key, _ in receipts.again(set(range(100)))]


def test_too_many_without_the_messenger_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Receipts of an hour without the messenger would fill the gateway's memory (promise P9)."""
    monkeypatch.setattr(module, "MOST", 2)
    receipts = PendingReceipts()
    for number in range(6):
        receipts.note((number, CHAT), PendingReceipt("", 1, 1, away=False))
    assert numbers(receipts) == [2, 3, 4, 5]
    with pytest.raises(PalaverError) as refused:
        receipts.note((9, CHAT), PendingReceipt("", 1, 1, away=True))
    assert refused.value.kind is UNAVAILABLE


def test_what_has_arrived_is_forgotten() -> None:
    """Each broken stream would bring all receipts of the gateway's life."""
    receipts = PendingReceipts()
    receipts.pass_time(MINUTE_US)
    receipts.note((1, CHAT), PendingReceipt("", 1, 1, away=False))
    receipts.pass_time(MINUTE_US + module.REMEMBER_US + 1)
    assert numbers(receipts) == [1]
    receipts.pass_time(MINUTE_US + 2 * module.REMEMBER_US + 2)
    assert numbers(receipts) == []
