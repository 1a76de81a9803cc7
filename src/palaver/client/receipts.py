"""Receipts on their way to the server: said again after a cut, until the server tells of them. Sans I/O."""

from collections import OrderedDict
from collections.abc import Iterator

from palaver.contracts.frames import Receipt, SendReceipt

# More chats than this are forgotten, the oldest first: a receipt that moved nothing is never told of.
MOST_CHATS = 1_000


class UnconfirmedReceipts:
    """The newest receipt of each chat that the server has not confirmed yet."""

    def __init__(self) -> None:
        self._receipts: OrderedDict[str, SendReceipt] = OrderedDict()
        self._unsaid: dict[str, None] = {}

    def add(self, chat_id: str, received_seq: int, read_seq: int) -> None:
        """The user has received and read a chat so far; seqs that are behind say nothing."""
        old = self._receipts.get(chat_id) or SendReceipt(chat_id)
        new = SendReceipt(chat_id, max(old.received_seq, received_seq), max(old.read_seq, read_seq))
        if new == old:
            return
        self._receipts[chat_id] = new
        self._receipts.move_to_end(chat_id)
        self._unsaid[chat_id] = None
        if len(self._receipts) > MOST_CHATS:
            forgotten, _ = self._receipts.popitem(last=False)
            self._unsaid.pop(forgotten, None)

    def confirm(self, receipt: Receipt) -> None:
        """The server tells the user's own receipt."""
        said = self._receipts.get(receipt.chat_id)
        if said is None or said.received_seq > receipt.received_seq or said.read_seq > receipt.read_seq:
            return
        del self._receipts[receipt.chat_id]
        self._unsaid.pop(receipt.chat_id, None)

    def say_again(self) -> None:
        """There is a new connection."""
        self._unsaid = dict.fromkeys(self._receipts)

    def to_say(self) -> Iterator[SendReceipt]:
        """What was not said through this connection."""
        while self._unsaid:
            yield self._receipts[self._unsaid.popitem()[0]]
