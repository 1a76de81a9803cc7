"""Pages of history that the messenger is asked for on the stream, and has not answered yet.

Asks of one event-loop turn travel in one batch, and answers in as few as come: a gRPC call a page costs more
than the page. Reading may be repeated, so what a broken stream took along is asked again on the next one.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator

from palaver.contracts.errors import OVERLOADED, RESTARTING, UNAVAILABLE, PalaverError
from palaver.contracts.messenger_pb2 import GatewayBatch, ListMessagesRequest, MessagePage, ReadReply
from palaver.gateway.upstream.batches import error_from_proto

DEADLINE_SECONDS = 10.0
# A messenger that restarts is back within this time, mostly; without one an ask waits no longer
AWAY_SECONDS = 3.0
# More than these would only wait for their deadline
MOST_WAITING = 10_000


class PendingRead:
    """One ask, and whoever waits for its answer. `deadline` is a time of the event loop, and so is
    `away_since`: no messenger has been asked since then; 0: one is."""

    __slots__ = ("answer", "away_since", "deadline", "request", "token", "traceparent")

    def __init__(
        self,
        token: str,
        request: ListMessagesRequest,
        traceparent: str,
        answer: asyncio.Future[MessagePage],
        deadline: float,
    ) -> None:
        self.token = token
        self.request = request
        self.traceparent = traceparent
        self.answer = answer
        self.deadline = deadline
        self.away_since = 0.0


class PendingReads:
    """All that wait, by number. `leave` takes an ask to the messenger; False: none is there."""

    def __init__(self, leave: Callable[[int, PendingRead], bool]) -> None:
        self._leave = leave
        self._number = 0
        # In the order of their deadlines, since all wait equally long
        self._waiting: dict[int, PendingRead] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    async def list_messages(
        self, token: str, request: ListMessagesRequest, traceparent: str = ""
    ) -> MessagePage:
        """Messages of a chat, in the name of the token's user.

        Raises what the messenger refuses it with, `unavailable` after `DEADLINE_SECONDS`, or where there is
        no messenger for `AWAY_SECONDS`, and `overloaded`.
        """
        if len(self._waiting) >= MOST_WAITING:
            raise PalaverError(OVERLOADED, retry_after=1.0, asks=len(self._waiting))
        loop = asyncio.get_running_loop()
        asked = PendingRead(token, request, traceparent, loop.create_future(), loop.time() + DEADLINE_SECONDS)
        self._number += 1
        number = self._number
        self._waiting[number] = asked
        if self._timer is None:
            self._timer = loop.call_at(asked.deadline, self._expire)
        if not self._leave(number, asked):
            asked.away_since = loop.time()
            loop.call_later(AWAY_SECONDS, self._give_up)
        try:
            return await asked.answer
        finally:
            # Whoever gave up must not be asked for again
            self._waiting.pop(number, None)

    def waiting(self) -> Iterator[tuple[int, PendingRead]]:
        """What is not answered, to be asked again on a new stream."""
        for asked in self._waiting.values():
            asked.away_since = 0.0
        return iter(self._waiting.items())

    def note_break(self) -> None:
        """The stream is gone, and nobody is asked any more."""
        if self._waiting:
            loop = asyncio.get_running_loop()
            for asked in self._waiting.values():
                asked.away_since = loop.time()
            loop.call_later(AWAY_SECONDS, self._give_up)

    def hear(self, answers: Iterable[ReadReply]) -> None:
        """Gives answers to those who wait for them."""
        for answer in answers:
            asked = self._waiting.get(answer.number)
            if asked is None or asked.answer.done():
                continue
            if not answer.HasField("error"):
                asked.answer.set_result(answer.page)
            elif answer.error.code != RESTARTING.code:
                asked.answer.set_exception(error_from_proto(answer.error))
            # Otherwise it waits for the messenger that comes next, as if this one had died

    def _give_up(self) -> None:
        """Ends what has waited for a messenger for so long."""
        # Timers go off a little early
        latest = asyncio.get_running_loop().time() - AWAY_SECONDS + 0.01
        for asked in self._waiting.values():
            if 0 < asked.away_since <= latest and not asked.answer.done():
                asked.answer.set_exception(PalaverError(UNAVAILABLE, retry_after=1.0))

    def _expire(self) -> None:
        """One timer for all: it goes off at the deadline of the oldest."""
        loop = asyncio.get_running_loop()
        self._timer = None
        for asked in self._waiting.values():
            if asked.deadline > loop.time():
                self._timer = loop.call_at(asked.deadline, self._expire)
                return
            if not asked.answer.done():
                asked.answer.set_exception(PalaverError(UNAVAILABLE, retry_after=1.0))


def add_ask(batch: GatewayBatch, number: int, asked: PendingRead) -> None:
    """Adds an ask to a batch."""
    batch.reads.add(
        number=number, token=asked.token, list_messages=asked.request, traceparent=asked.traceparent
    )
