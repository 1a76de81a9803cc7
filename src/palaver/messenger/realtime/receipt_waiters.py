"""Those who wait until a receipt is on disk."""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from palaver.messenger.domain import Receipt, no_such_chat
from palaver.messenger.realtime.gateway_connection import GatewayConnection
from palaver.messenger.store.journal import ReceiptKey, Writes

# Receipts of gateways that could not be written are written again after so long
RETRY_SECONDS = 1.0


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
    """Who waits for which receipts. `submit_again`: as `Engine.submit_receipt`."""

    def __init__(self, submit_again: Callable[[bytes, bytes, int, int, ReceiptWaiter], None]) -> None:
        self._submit_again = submit_again
        self._waiting: dict[ReceiptKey, list[WaitingFor]] = {}

    def add(self, key: ReceiptKey, received_seq: int, read_seq: int, waiter: ReceiptWaiter) -> None:
        """Adds one, to be answered by the batch that writes the receipt."""
        self._waiting.setdefault(key, []).append(WaitingFor(received_seq, read_seq, waiter))

    def answer(self, writes: Writes) -> None:
        """Answers those whose receipts a batch has written, or could not write."""
        for key, (received_seq, read_seq) in writes.receipts.items():
            if key[0] in writes.busy:
                # Not written yet, and part of a later batch
                continue
            for one in self._waiting.pop(key, ()):
                if one.received_seq > received_seq or one.read_seq > read_seq:
                    # It came while this batch was written, and is part of the next
                    self._waiting.setdefault(key, []).append(one)
                elif isinstance(one.waiter, asyncio.Future):
                    _answer_call(one.waiter, key, writes)
                elif writes.error is None:
                    one.waiter.gateway.confirm_receipt(one.waiter.number)
                else:
                    # The gateway sends it again on its next stream, which may be days away
                    asyncio.get_running_loop().call_later(
                        RETRY_SECONDS, self._submit_again, *key, one.received_seq, one.read_seq, one.waiter
                    )


def _answer_call(outcome: asyncio.Future[Receipt], key: ReceiptKey, writes: Writes) -> None:
    stored = writes.stored_receipts.get(key)
    if outcome.done():
        return
    if stored is None:
        outcome.set_exception(writes.error or no_such_chat())
    else:
        outcome.set_result(Receipt(key[1], stored.received_seq, stored.read_seq))
