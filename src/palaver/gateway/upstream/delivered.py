"""How far a gateway has followed the commit log, and what it has delivered beyond that."""

from collections.abc import Iterable

from palaver.contracts.messenger_pb2 import Position


class Delivered:
    """What the next stream need not deliver again.

    `last_seqs`: chat id -> last seq delivered, of what may lie beyond the positions followed. It is empty
    while the stream is settled: a gateway in a calm hour neither keeps nor looks up anything.
    """

    def __init__(self) -> None:
        self.last_seqs: dict[bytes, int] = {}
        self._followed: dict[int, int] = {}
        self._is_stale = False

    def note(self, chat_id: bytes, last_seq: int) -> None:
        """Notes messages of a chat, up to a seq, as delivered."""
        if last_seq > self.last_seqs.get(chat_id, 0):
            self.last_seqs[chat_id] = last_seq

    def follow(self, positions: Iterable[Position], *, settled: bool) -> None:
        """Moves on, at the end of a batch. `settled`: nothing that was delivered lies beyond that.

        Call it only once a batch is handled whole: what is followed is never delivered again.
        """
        for position in positions:
            if self._is_stale:
                self._followed, self._is_stale = {}, False
            writer, number = position.writer, position.number
            # A writer that has committed nothing yet counts: without it the next stream would seem the first
            self._followed[writer] = max(number, self._followed.get(writer, 0))
        if settled and self.last_seqs:
            self.last_seqs.clear()

    def restart(self) -> None:
        """The log does not have what lies behind the positions, or was put back to an older state. The next
        positions take their place, and what was delivered compares with nothing."""
        self._is_stale = True
        self.last_seqs.clear()

    def followed(self) -> list[Position]:
        """The last number followed of each writer; empty on a gateway's first stream."""
        return [Position(writer=writer, number=number) for writer, number in self._followed.items()]
