"""Reads that the messenger has not answered yet: pages of history, which travel on the stream.

Reads of one event-loop turn travel in one batch, and replies in as few as come: a gRPC call a page costs more
than the page. A read may be repeated, so what a broken stream took along is sent again on the next one.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVarTuple

from palaver.contracts.errors import OVERLOADED, RESTARTING, UNAVAILABLE, PalaverError
from palaver.contracts.messenger_pb2 import GatewayBatch, ListMessagesRequest, MessagePage, ReadReply
from palaver.gateway.upstream.batches import error_from_proto
from palaver.gateway.upstream.outbox import Outbox
from palaver.runtime.fair_turns import MOST_OF_ONE, too_many_at_once
from palaver.runtime.rate_limits import Key
from palaver.runtime.requester import requester

DEADLINE_SECONDS = 10.0
# A messenger that restarts is back within this time, mostly; without one a read waits no longer
AWAY_SECONDS = 3.0
# More than these would only wait for their deadline
MOST_PENDING = 10_000

Asked = TypeVarTuple("Asked")


class HistoryPage:
    """A page of a chat's messages, for one reader or for several who asked for the same together."""

    __slots__ = ("_rendered", "messages")

    def __init__(self, messages: MessagePage) -> None:
        self.messages = messages
        self._rendered: dict[Any, bytes] = {}

    def rendered(self, render: Callable[[MessagePage, *Asked], bytes], *asked: *Asked) -> bytes:
        """What `render` makes of the messages, once for all who asked the same of one generation."""
        key = (render, asked)
        body = self._rendered.get(key)
        if body is None:
            body = self._rendered[key] = render(self.messages, *asked)
        return body


class PendingRead:
    """One read, and the future of its page. `deadline` is a time of the event loop, and so is `away_since`:
    there has been no messenger since then; 0: there is one."""

    __slots__ = ("away_since", "deadline", "number", "page", "request", "token", "traceparent")

    def __init__(
        self,
        number: int,
        token: str,
        request: ListMessagesRequest,
        traceparent: str,
        page: asyncio.Future[HistoryPage],
        deadline: float,
    ) -> None:
        self.number = number
        self.token = token
        self.request = request
        self.traceparent = traceparent
        self.page = page
        self.deadline = deadline
        self.away_since = 0.0


class PendingReads:
    """All of them, by number."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._number = 0
        # In the order of their deadlines, since all wait equally long
        self._pending: dict[int, PendingRead] = {}
        self._of_one: Counter[Key] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._pending)

    async def list_messages(
        self, token: str, request: ListMessagesRequest, traceparent: str = ""
    ) -> HistoryPage:
        """Messages of a chat, in the name of the token's user.

        Raises what the messenger refuses it with, `unavailable` after `DEADLINE_SECONDS`, or where there is
        no messenger for `AWAY_SECONDS`, `rate_limited` where the requester has too many, and `overloaded`.
        """
        key = requester()
        if self._of_one[key] >= MOST_OF_ONE:
            raise too_many_at_once()
        if len(self._pending) >= MOST_PENDING:
            raise PalaverError(OVERLOADED, retry_after=1.0, reads=len(self._pending))
        loop = asyncio.get_running_loop()
        self._number += 1
        page: asyncio.Future[HistoryPage] = loop.create_future()
        deadline = loop.time() + DEADLINE_SECONDS
        read = PendingRead(self._number, token, request, traceparent, page, deadline)
        self._pending[read.number] = read
        self._of_one[key] += 1
        if self._timer is None:
            self._timer = loop.call_at(deadline, self._expire)
        if self._outbox.is_open:
            add_read(self._outbox.batch, read)
            self._outbox.wake()
        else:
            read.away_since = loop.time()
            loop.call_later(AWAY_SECONDS, self._give_up)
        try:
            return await page
        finally:
            # A caller that is gone needs no second try
            self._pending.pop(read.number, None)
            self._of_one[key] -= 1
            if not self._of_one[key]:
                del self._of_one[key]

    def resend(self) -> Iterator[PendingRead]:
        """What has no reply, to be sent again on a new stream."""
        for read in self._pending.values():
            read.away_since = 0.0
        return iter(self._pending.values())

    def note_break(self) -> None:
        """The stream is gone, and there is no messenger for now."""
        if self._pending:
            loop = asyncio.get_running_loop()
            for read in self._pending.values():
                read.away_since = loop.time()
            loop.call_later(AWAY_SECONDS, self._give_up)

    def handle_replies(self, replies: Iterable[ReadReply]) -> None:
        """Gives pages and errors to those who wait for them."""
        for reply in replies:
            page = None if reply.HasField("error") else HistoryPage(reply.page)
            for number in (reply.number, *reply.more_numbers):
                read = self._pending.get(number)
                if read is None or read.page.done():
                    continue
                if page is not None:
                    read.page.set_result(page)
                elif reply.error.code != RESTARTING.code:
                    read.page.set_exception(error_from_proto(reply.error))
                # Otherwise it waits for the messenger that comes next, as if this one had died

    def _give_up(self) -> None:
        """Ends what has waited for a messenger for `AWAY_SECONDS`."""
        # Timers go off a little early
        latest = asyncio.get_running_loop().time() - AWAY_SECONDS + 0.01
        for read in self._pending.values():
            if 0 < read.away_since <= latest and not read.page.done():
                read.page.set_exception(PalaverError(UNAVAILABLE, retry_after=1.0))

    def _expire(self) -> None:
        """One timer for all: it goes off at the deadline of the oldest."""
        loop = asyncio.get_running_loop()
        self._timer = None
        for read in self._pending.values():
            if read.deadline > loop.time():
                self._timer = loop.call_at(read.deadline, self._expire)
                return
            if not read.page.done():
                read.page.set_exception(PalaverError(UNAVAILABLE, retry_after=1.0))


def add_read(batch: GatewayBatch, read: PendingRead) -> None:
    """Adds a read to a batch."""
    batch.reads.add(
        number=read.number,
        token=read.token,
        list_messages=read.request,
        traceparent=read.traceparent,
    )
