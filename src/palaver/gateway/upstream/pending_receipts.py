"""Receipts that sockets have sent lately: what a broken stream took along is said again on the next one.

The messenger does not answer receipts. Since they only grow, saying one again does nothing.
"""

from collections.abc import Iterator

from palaver.contracts.errors import UNAVAILABLE, PalaverError
from palaver.contracts.messenger_pb2 import GatewayBatch

# What was said this long ago has arrived. Microseconds.
REMEMBER_US = 30_000_000
MOST = 20_000

Key = tuple[int, bytes]


class PendingReceipt:
    """How far a socket's user has come in a chat. `away`: the messenger was not there to hear it."""

    __slots__ = ("away", "read_seq", "received_seq", "token")

    def __init__(self, token: str, received_seq: int, read_seq: int, *, away: bool) -> None:
        self.token = token
        self.received_seq = received_seq
        self.read_seq = read_seq
        self.away = away


class PendingReceipts:
    """What was said, by (socket, chat id), merged; forgotten after a while."""

    def __init__(self) -> None:
        self._new: dict[Key, PendingReceipt] = {}
        self._old: dict[Key, PendingReceipt] = {}
        self._since = 0

    def note(self, key: Key, said: PendingReceipt) -> None:
        """Remembers a receipt. Raises `unavailable` where too many wait for the messenger."""
        if len(self._new) >= MOST:
            if said.away:
                raise PalaverError(UNAVAILABLE, retry_after=1.0)
            self._old, self._new = self._new, {}
        known = self._new.get(key) or self._old.get(key)
        if known is not None:
            said.received_seq = max(said.received_seq, known.received_seq)
            said.read_seq = max(said.read_seq, known.read_seq)
            said.away = said.away or known.away
        self._new[key] = said

    def forget(self, key: Key) -> None:
        """The messenger refused it: said again, it would be refused again."""
        self._new.pop(key, None)
        self._old.pop(key, None)

    def pass_time(self, clock: int) -> None:
        """Forgets what is older than `REMEMBER_US` by the messenger's clock, which stands still while the
        messenger is away."""
        if clock - self._since > REMEMBER_US:
            self._old, self._new, self._since = self._new, {}, clock

    def again(self, open_sockets: set[int]) -> Iterator[tuple[Key, PendingReceipt]]:
        """What is said on a new stream, which may break too: all of open sockets, and of closed ones what
        was said while nobody was there."""
        for key, said in {**self._old, **self._new}.items():
            if said.away or key[0] in open_sockets:
                yield key, said


def add_receipt(batch: GatewayBatch, key: Key, received_seq: int, read_seq: int) -> None:
    """Adds a receipt to a batch."""
    batch.receipts.add(socket=key[0], chat_id=key[1], received_seq=received_seq, read_seq=read_seq)
