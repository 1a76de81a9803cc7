"""One gateway's stream: the sockets that it has, and what is to be told to it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from palaver.contracts.errors import error_to_wire
from palaver.contracts.messenger_pb2 import Error, MessengerBatch
from palaver.contracts.times import now_us
from palaver.messenger.protobuf import fill_page
from palaver.messenger.store.messages import TEXT, Page

# A gateway for which so much waits is cut off; it comes back and is told again what it missed.
MOST_BYTES = 64 * 1024 * 1024
# While so much waits, what can wait does: pages of history, of resumes, and of what was missed.
ROOM_BYTES = 4 * 1024 * 1024
# About what one entry of a batch takes in memory, but for its texts
ENTRY_BYTES = 300
# Well below the largest message that a gateway takes.
BATCH_BYTES = 8 * 1024 * 1024
# An idle stream says the time so often, so that a gateway knows up to when it has been told everything.
HEARTBEAT_SECONDS = 5.0


class Socket:
    """One WebSocket connection, as the messenger sees it.

    `implicit`: an old client, to which a delivery counts as received. `floors`: chat id -> the seq up to
    which live messages are passed over, because a resume tells, or told, them from the store; a member of
    `held_back` is the last seq passed over so.
    """

    __slots__ = (
        "floors",
        "gateway",
        "held_back",
        "implicit",
        "number",
        "opened_at",
        "resuming",
        "session_id",
        "user_id",
    )

    def __init__(
        self,
        number: int,
        gateway: "GatewayConnection",
        user_id: bytes,
        session_id: bytes,
        opened_at: int,
        implicit: bool,
    ) -> None:
        self.number = number
        self.gateway = gateway
        self.user_id = user_id
        self.session_id = session_id
        self.opened_at = opened_at
        self.implicit = implicit
        self.resuming = False
        self.floors: dict[bytes, int] | None = None
        self.held_back: dict[bytes, int] = {}

    def passes_over(self, chat_id: bytes, seq: int) -> bool:
        """Whether a live message is not to be told, since a resume does it."""
        if self.floors is None or (floor := self.floors.get(chat_id)) is None:
            return False
        if seq > floor:
            del self.floors[chat_id]
            return False
        self.held_back[chat_id] = seq
        return True


class GatewayConnection:
    """What waits to be written to one gateway, in batches."""

    def __init__(self) -> None:
        self.sockets: dict[int, Socket] = {}
        self.drained: dict[int, asyncio.Event] = {}
        self.outbox = MessengerBatch()
        # New messages wait here while what was missed is read, so that they come after it
        self._held: MessengerBatch | None = None
        self.since = 0
        # About how much waits, in the outbox and held
        self._bytes = 0
        self._held_bytes = 0
        self._room = asyncio.Event()
        # The gateway reads so slowly that it must be cut off
        self.overrun = asyncio.Event()
        self._wake = asyncio.Event()
        self._written = asyncio.Event()
        self._written.set()

    @property
    def deliveries(self) -> Any:
        """Where deliveries are added."""
        return self.outbox.deliveries if self._held is None else self._held.deliveries

    def hold_deliveries(self) -> None:
        """Holds deliveries back until `release_deliveries`."""
        self._held = MessengerBatch()

    def release_deliveries(self) -> None:
        """Puts what was held behind what was told meanwhile; some of it may be told twice, and says so."""
        if self._held is not None:
            for delivery in self._held.deliveries:
                delivery.catch_up = True
            self.outbox.MergeFrom(self._held)
            self._held = None
            self._bytes += self._held_bytes
            self._held_bytes = 0
            self.wake()

    def note_drained(self, number: int) -> None:
        """A socket has taken the last page of its resume."""
        event = self.drained.get(number)
        if event is not None:
            event.set()

    def wake(self, size: int = ENTRY_BYTES) -> None:
        """Lets the outbox be written; call it after adding to it. `size`: about how many bytes were added."""
        if self._held is None:
            self._bytes += size
        else:
            self._held_bytes += size
        if self._bytes + self._held_bytes > MOST_BYTES:
            self.overrun.set()
        self._written.clear()
        self._wake.set()

    def wake_missed(self, size: int) -> None:
        """The same for what was missed. Cut off for much of that, a gateway would come back for all of it."""
        self._bytes += size
        self._written.clear()
        self._wake.set()

    async def room(self) -> None:
        """Waits until the gateway has taken most of what it was told. What can be read later should be."""
        while self._bytes > ROOM_BYTES:
            self._room.clear()
            await self._room.wait()

    def refuse_send(self, request: int, error: Exception) -> None:
        """Answers a send with an error."""
        self.outbox.sent.add(request=request, error=error_to_proto(error))
        self.wake()

    def refuse_frame(self, socket: int, chat_id: bytes, error: Exception) -> None:
        """Answers a receipt, typing or resume with an error."""
        self.outbox.errors.add(socket=socket, chat_id=chat_id, error=error_to_proto(error))
        self.wake()

    def answer(self, number: int, page: Page) -> None:
        """Answers an ask."""
        answer = self.outbox.read_replies.add(number=number)
        fill_page(answer.page, page)
        self.wake(size_of(page))

    def refuse_ask(self, number: int, error: Exception) -> None:
        """Answers an ask with an error."""
        self.outbox.read_replies.add(number=number, error=error_to_proto(error))
        self.wake()

    async def write_batches(self, write: Callable[[MessengerBatch], Awaitable[None]]) -> None:
        """Writes the outbox whenever there is something in it, for ever."""
        # No beat at once: a gateway that comes back would hear a time before what it missed is told
        self._heart = asyncio.get_running_loop().call_later(HEARTBEAT_SECONDS, self._beat)
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                batch, self.outbox = self.outbox, MessengerBatch()
                size, self._bytes = self._bytes, 0
                self._room.set()
                # A gateway that is still catching up has not been told everything until now
                batch.clock = now_us() if self._held is None else 0
                # Taking the exact size costs as much as writing it
                parts = split_batch(batch, BATCH_BYTES) if size > BATCH_BYTES // 4 else (batch,)
                for part in parts:
                    await write(part)
                if not self._wake.is_set():
                    self._written.set()
        finally:
            self._heart.cancel()

    def _beat(self) -> None:
        # A timer of its own, and not a time limit on each wait, which costs a task a batch
        self._wake.set()
        self._heart = asyncio.get_running_loop().call_later(HEARTBEAT_SECONDS, self._beat)

    async def written(self) -> None:
        """Waits until all that was added is written."""
        await self._written.wait()


def error_to_proto(error: Exception) -> Error:
    """An error as the stream carries it."""
    wire = error_to_wire(error)
    return Error(code=wire.code, message=wire.message, field=wire.field, retry_after=wire.retry_after)


def size_of(page: Page) -> int:
    """About how many bytes a page takes."""
    return ENTRY_BYTES * (1 + len(page.rows)) + 2 * sum([len(row[TEXT]) for row in page.rows])


def split_batch(batch: MessengerBatch, most_bytes: int) -> Iterator[MessengerBatch]:
    """The batch in pieces of about `most_bytes`: its deliveries in order, its answers, and the rest behind
    them. Only the last has the time, up to which everything has been told."""
    if batch.ByteSize() <= most_bytes:
        yield batch
        return
    part = MessengerBatch(opened=batch.opened)
    del batch.opened[:]
    size = part.ByteSize()
    for field in ("deliveries", "read_replies"):
        entries = getattr(batch, field)
        for entry in list(entries):
            getattr(part, field).append(entry)
            size += entry.ByteSize()
            if size > most_bytes:
                yield part
                part, size = MessengerBatch(), 0
        del entries[:]
    yield part
    yield batch
