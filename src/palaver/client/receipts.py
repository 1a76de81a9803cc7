"""Receipts on their way to the server: sent again after a cut, until the server confirms them. Sans-I/O."""

from collections import OrderedDict
from collections.abc import Iterator

from palaver.contracts.frames import Receipt, SendReceipt

# More chats than this are forgotten, the oldest first: a receipt that moved nothing is never confirmed.
MOST_CHATS = 1_000


class UnconfirmedReceipts:
    """The newest receipt of each chat that the server has not confirmed yet."""

    def __init__(self) -> None:
        self._receipts: OrderedDict[str, SendReceipt] = OrderedDict()
        self._unsent: dict[str, None] = {}

    def add(self, chat_id: str, received_seq: int, read_seq: int) -> None:
        """Adds how far the user has received and read a chat; seqs that are behind change nothing."""
        old = self._receipts.get(chat_id) or SendReceipt(chat_id)
        new = SendReceipt(chat_id, max(old.received_seq, received_seq), max(old.read_seq, read_seq))
        if new == old:
            return
        self._receipts[chat_id] = new
        self._receipts.move_to_end(chat_id)
        self._unsent[chat_id] = None
        if len(self._receipts) > MOST_CHATS:
            forgotten, _ = self._receipts.popitem(last=False)
            self._unsent.pop(forgotten, None)

    def confirm(self, receipt: Receipt) -> None:
        """Drops a receipt that came back from the server as the user's own."""
        unconfirmed = self._receipts.get(receipt.chat_id)
        if unconfirmed is None:
            return
        if unconfirmed.received_seq > receipt.received_seq or unconfirmed.read_seq > receipt.read_seq:
            return
        del self._receipts[receipt.chat_id]
        self._unsent.pop(receipt.chat_id, None)

    def resend_all(self) -> None:
        """Sends all of them again, through a new connection."""
        self._unsent = dict.fromkeys(self._receipts)

    def take_unsent(self) -> Iterator[SendReceipt]:
        """What was not sent yet through this connection."""
        while self._unsent:
            yield self._receipts[self._unsent.popitem()[0]]
