"""Those who wait until a receipt is on disk."""

import asyncio
from typing import NamedTuple

from palaver.messenger.domain import Receipt, no_such_chat
from palaver.messenger.realtime.gateway_connection import GatewayConnection
from palaver.messenger.store.journal import ReceiptKey, Writes


class ReceiptOrigin:
    """The gateway that sent a receipt, and by which number."""

    __slots__ = ("gateway", "number")

    def __init__(self, gateway: GatewayConnection, number: int) -> None:
        self.gateway = gateway
        self.number = number


ReceiptWaiter = ReceiptOrigin | asyncio.Future[Receipt]


class WaitingFor(NamedTuple):
    """One that waits, and the receipt that it waits for."""

    received_seq: int
    read_seq: int
    waiter: ReceiptWaiter


class ReceiptWaiters:
    """Who waits for which receipts."""

    def __init__(self) -> None:
        self._waiting: dict[ReceiptKey, list[WaitingFor]] = {}

    def add(self, key: ReceiptKey, received_seq: int, read_seq: int, waiter: ReceiptWaiter) -> None:
        """Adds one, to be answered by the batch that writes the receipt."""
        self._waiting.setdefault(key, []).append(WaitingFor(received_seq, read_seq, waiter))

    def answer(self, writes: Writes) -> None:
        """Answers those whose receipts a batch has written, or could not write."""
        for key, (received_seq, read_seq) in writes.receipts.items():
            for one in self._waiting.pop(key, ()):
                if one.received_seq > received_seq or one.read_seq > read_seq:
                    # It came while this batch was written, and is part of the next
                    self._waiting.setdefault(key, []).append(one)
                else:
                    _answer(one.waiter, key, writes)


def _answer(waiter: ReceiptWaiter, key: ReceiptKey, writes: Writes) -> None:
    stored = writes.stored_receipts.get(key)
    if isinstance(waiter, ReceiptOrigin):
        # Where nothing is known to be written, the gateway sends it again on its next stream
        if writes.error is None:
            waiter.gateway.confirm_receipt(waiter.number)
    elif waiter.done():
        return
    elif stored is None:
        waiter.set_exception(writes.error or no_such_chat())
    else:
        waiter.set_result(Receipt(key[1], stored.received_seq, stored.read_seq))
