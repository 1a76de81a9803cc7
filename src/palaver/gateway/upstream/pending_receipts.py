"""Receipts that the messenger has not stored yet: a new stream sends them again."""

from collections import Counter
from collections.abc import Iterable, Iterator

from palaver.contracts.errors import RATE_LIMITED, UNAVAILABLE, PalaverError
from palaver.contracts.messenger_pb2 import GatewayBatch
from palaver.gateway.upstream.pending_sends import Sender

# Of one gateway. The messenger answers within milliseconds; more than these would only wait for it
MOST_PENDING = 20_000
MOST_OF_USER = 2_000

Key = tuple[int, bytes]


class PendingReceipt:
    """How far a socket's user has come in a chat. `number`: of the newest update."""

    __slots__ = ("chat_id", "number", "read_seq", "received_seq", "sender")

    def __init__(self, sender: Sender, chat_id: bytes) -> None:
        self.sender = sender
        self.chat_id = chat_id
        self.received_seq = 0
        self.read_seq = 0
        self.number = 0


class PendingReceipts:
    """All of them, one a socket and chat, until the messenger has answered the newest update."""

    def __init__(self) -> None:
        self._number = 0
        self._pending: dict[Key, PendingReceipt] = {}
        # By the number of the newest update
        self._keys: dict[int, Key] = {}
        self._of_user: Counter[bytes] = Counter()

    def __len__(self) -> int:
        return len(self._pending)

    def __iter__(self) -> Iterator[PendingReceipt]:
        return iter(self._pending.values())

    def add(self, sender: Sender, chat_id: bytes, received_seq: int, read_seq: int) -> PendingReceipt:
        """The receipt to send: merged with what is not stored yet, so that its answer covers all of it.

        Raises `rate_limited` where too many of the user, and `unavailable` where too many of all wait for the
        messenger (promise P9).
        """
        key = (sender.number, chat_id)
        receipt = self._pending.get(key)
        if receipt is None:
            if self._of_user[sender.user_id] >= MOST_OF_USER:
                raise PalaverError(RATE_LIMITED, "too many receipts at once", retry_after=1.0)
            if len(self._pending) >= MOST_PENDING:
                raise PalaverError(UNAVAILABLE, retry_after=1.0)
            receipt = self._pending[key] = PendingReceipt(sender, chat_id)
            self._of_user[sender.user_id] += 1
        else:
            del self._keys[receipt.number]
        receipt.received_seq = max(receipt.received_seq, received_seq)
        receipt.read_seq = max(receipt.read_seq, read_seq)
        self._number += 1
        receipt.number = self._number
        self._keys[receipt.number] = key
        return receipt

    def remove_stored(self, numbers: Iterable[int]) -> None:
        """Forgets what the messenger has stored. The number of an older update does not cover the newest."""
        for number in numbers:
            key = self._keys.pop(number, None)
            if key is not None:
                self._forget(key)

    def remove_sender(self, socket: int) -> None:
        """Forgets all of a socket's, which the messenger does not open."""
        for number, chat_id in [key for key in self._pending if key[0] == socket]:
            self.remove_refused(number, chat_id)

    def remove_refused(self, socket: int, chat_id: bytes) -> None:
        """Forgets what the messenger has refused: sent again, it would be refused again."""
        receipt = self._pending.get((socket, chat_id))
        if receipt is not None:
            del self._keys[receipt.number]
            self._forget((socket, chat_id))

    def _forget(self, key: Key) -> None:
        user_id = self._pending.pop(key).sender.user_id
        self._of_user[user_id] -= 1
        if not self._of_user[user_id]:
            del self._of_user[user_id]


def add_receipt(batch: GatewayBatch, receipt: PendingReceipt) -> None:
    """Adds a receipt to a batch."""
    batch.receipts.add(
        socket=receipt.sender.number,
        chat_id=receipt.chat_id,
        received_seq=receipt.received_seq,
        read_seq=receipt.read_seq,
        number=receipt.number,
    )
