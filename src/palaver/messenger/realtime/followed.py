"""How far a replica has followed the commit log: which transactions it has delivered to its own sockets."""

import asyncio
from collections.abc import Mapping

from palaver.messenger.events import Position


class FollowedPositions:
    """The last number of each writer up to which everything is delivered.

    A transaction is noted when it is known, and finished when all that it touched has been handed to the
    streams of gateways. They finish in any order; the vector moves on where there is no hole. `vector` is
    replaced, never changed: whoever holds it holds a snapshot.
    """

    def __init__(self) -> None:
        self.vector: dict[int, int] = {}
        # The newest number that is known of each writer
        self._known: dict[int, int] = {}
        self._finished: dict[int, set[int]] = {}
        self._under_way: set[Position] = set()
        self._moved = asyncio.Event()

    def begin(self, newest: Mapping[int, int]) -> None:
        """Starts behind these numbers: what is older was committed before this replica had a socket."""
        self.vector = dict(newest)
        self._known = dict(newest)
        self._finished.clear()
        self._under_way.clear()
        self._moved.set()

    @property
    def settled(self) -> bool:
        """Whether nothing is known that is not finished."""
        return self.vector == self._known

    @property
    def known(self) -> dict[int, int]:
        """The newest number that is known of each writer."""
        return dict(self._known)

    def note(self, position: Position) -> bool:
        """A transaction is known, and its delivery begins. False: it was known before."""
        writer, number = position
        if position in self._under_way or self.is_finished(position):
            return False
        self._under_way.add(position)
        if number > self._known.get(writer, 0):
            self._known[writer] = number
        return True

    def expect(self, newest: Mapping[int, int]) -> None:
        """These numbers are on disk: what the bus has lost of them is a hole from now on, which is filled
        from the log."""
        for writer, number in newest.items():
            self._known[writer] = max(number, self._known.get(writer, 0))

    def is_finished(self, position: Position) -> bool:
        """Whether everything of a transaction has been delivered."""
        writer, number = position
        return number <= self.vector.get(writer, 0) or number in self._finished.get(writer, ())

    def finish(self, position: Position) -> None:
        """Everything that a transaction touched has been delivered."""
        writer, number = position
        self._under_way.discard(position)
        last = self.vector.get(writer, 0)
        if number != last + 1:
            if number > last:
                self._finished.setdefault(writer, set()).add(number)
            return
        waiting = self._finished.get(writer)
        while waiting and number + 1 in waiting:
            number += 1
            waiting.remove(number)
        self.vector = {**self.vector, writer: number}
        self._moved.set()

    def abandon(self, position: Position) -> None:
        """The delivery of a transaction failed: it is read from the log again."""
        self._under_way.discard(position)

    def holes(self) -> dict[int, int]:
        """The last number of each writer whose next transaction is known of, and not on its way here."""
        return {
            writer: last
            for writer, last in {**dict.fromkeys(self._known, 0), **self.vector}.items()
            if last < self._known.get(writer, 0) and Position(writer, last + 1) not in self._under_way
        }

    async def reached(self, wanted: Mapping[int, int]) -> None:
        """Waits until everything up to these numbers, which are on disk, is delivered."""
        self.expect(wanted)
        while any(self.vector.get(writer, 0) < number for writer, number in wanted.items()):
            self._moved.clear()
            await self._moved.wait()


class Delivery:
    """The delivery of one transaction, in parts. Finishes the transaction with its last part."""

    __slots__ = ("_followed", "_parts", "_position")

    def __init__(self, followed: FollowedPositions, position: Position | None) -> None:
        self._followed = followed
        self._position = position
        self._parts = 1

    def add_part(self) -> None:
        """Something of it has to wait."""
        self._parts += 1

    def abandon(self) -> None:
        """A part failed: the whole transaction is read from the log and delivered again."""
        if self._position is not None:
            self._followed.abandon(self._position)
            self._position = None

    def finish_part(self) -> None:
        """A part, or the work that began it, is done."""
        self._parts -= 1
        if not self._parts and self._position is not None:
            self._followed.finish(self._position)
