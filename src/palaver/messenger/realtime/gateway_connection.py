"""One gateway's stream: the sockets that it has, and what waits to be written to it."""

import asyncio
from collections import deque
from collections.abc import Iterator

from palaver.contracts.messenger_pb2 import MessengerBatch, ReadReply
from palaver.messenger.pending_send import PendingSend, stored_keys
from palaver.messenger.protobuf import error_to_proto, fill_page
from palaver.messenger.realtime.followed import FollowedPositions
from palaver.messenger.store.messages import TEXT, Page, Rows
from palaver.runtime.fair_turns import FairTurns
from palaver.runtime.grpc import batches
from palaver.runtime.grpc.message_stream import MessageStream

# A gateway for which so much waits is cut off; it comes back and is sent again what it missed.
MOST_BYTES = 64 * 1024 * 1024
# While so much waits, what can wait does: pages of history, of resumes, and of what was missed.
ROOM_BYTES = 4 * 1024 * 1024
# About what one entry of a batch takes in memory, but for its texts
ENTRY_BYTES = 300
# One message in it more, but for its text; one socket more
KEY_BYTES = 48
SOCKET_BYTES = 8
NUMBER_BYTES = 8
# Well below the largest message that a gateway takes.
BATCH_BYTES = 8 * 1024 * 1024
# An idle stream is written to so often, so that a gateway notices where it is broken
HEARTBEAT_SECONDS = 5.0


class Socket:
    """One WebSocket connection, as the messenger sees it.

    `implicit`: an old client, to which a delivery counts as received. `floors`: chat id -> the seq up to
    which live messages are passed over, because a resume delivers, or has delivered, them from the store;
    `held_back`: the last seq passed over so.
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
        """Whether a live message is not to be delivered, since a resume does it."""
        if self.floors is None or (floor := self.floors.get(chat_id)) is None:
            return False
        if seq > floor:
            del self.floors[chat_id]
            return False
        self.held_back[chat_id] = seq
        return True


class GatewayConnection:
    """What waits to be written to one gateway, in batches. It leaves at the end of the turn of the event loop
    that added it, where the stream takes it."""

    def __init__(self, followed: FollowedPositions, stream: MessageStream) -> None:
        self._stream = stream
        self.sockets: dict[int, Socket] = {}
        self.drained: dict[int, asyncio.Event] = {}
        self.outbox = MessengerBatch()
        # How far the gateway had followed on its last stream; empty: it had none
        self.missed_since: dict[int, int] = {}
        self._followed = followed
        # What the gateway was last told to have followed
        self._sent_vector: dict[int, int] = {}
        # New messages wait here while what was missed is read, so that they come after it
        self._held: MessengerBatch | None = None
        # What is held may repeat what was missed
        self._has_repeats = False
        # About how much waits, in the outbox and held
        self._bytes = 0
        self._held_bytes = 0
        self._room = asyncio.Event()
        # Pages of history, in rounds over their readers; of this gateway, since another may be slow to take
        # them
        self.reading_turns = FairTurns(1)
        # It understands one reply to many reads
        self.takes_shared_pages = False
        # Pages that wait in the outbox, by the identity of their rows, which are kept so that it stays theirs
        self._replies: dict[int, tuple[Rows, ReadReply]] = {}
        # The gateway reads so slowly that it must be cut off
        self.overrun = asyncio.Event()
        # There is something to write: in the outbox, or positions that have moved
        self._is_filled = False
        self._will_flush = False
        # Batches that leave before the outbox
        self._parts: deque[MessengerBatch] = deque()
        self._written = asyncio.Event()
        self._written.set()
        self._heart: asyncio.TimerHandle | None = None

    @property
    def live(self) -> MessengerBatch:
        """Where live events are added; what was missed goes into `outbox`, before them."""
        return self.outbox if self._held is None else self._held

    def hold_deliveries(self) -> None:
        """Holds live events back until `release_deliveries`."""
        self._held = MessengerBatch()

    def release_deliveries(self) -> None:
        """Puts what was held behind what was delivered meanwhile; the gateway passes over what is in both."""
        if self._held is not None:
            self.outbox.MergeFrom(self._held)
            self._held = None
            self._has_repeats = True
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
        self._schedule()

    def wake_missed(self, size: int) -> None:
        """The same for what was missed. Cut off for much of that, a gateway would come back for all of it."""
        self._bytes += size
        self._schedule()

    def _schedule(self) -> None:
        self._is_filled = True
        if not self._will_flush:
            self._will_flush = True
            self._written.clear()
            # A callback, and not a task that waits: a message waits for no other turn
            asyncio.get_running_loop().call_soon(self._flush_turn)

    async def room(self) -> None:
        """Waits until the gateway has taken most of what was written to it. What can be read later should
        be."""
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

    def answer_read(self, number: int, page: Page) -> None:
        """Answers a read; by the reply to another one that has the same rows, where it still waits."""
        shared = self._replies.get(id(page.rows))
        if shared is not None:
            shared[1].more_numbers.append(number)
            self.wake(NUMBER_BYTES)
            return
        reply = self.outbox.read_replies.add(number=number)
        if self.takes_shared_pages:
            self._replies[id(page.rows)] = page.rows, reply
        fill_page(reply.page, page)
        self.wake(size_of(page))

    def refuse_read(self, number: int, error: Exception) -> None:
        """Answers a read with an error."""
        self.outbox.read_replies.add(number=number, error=error_to_proto(error))
        self.wake()

    def confirm_receipt(self, number: int) -> None:
        """Answers a receipt: it is on disk, or moved nothing."""
        self.outbox.stored_receipts.append(number)
        self.wake(8)

    def flush(self) -> None:
        """Writes what the stream takes. Whoever reads from it calls this when it is writable again."""
        stream = self._stream
        while self._parts or self._is_filled:
            if not stream.is_writable:
                return
            if not self._parts:
                self._take_outbox()
            stream.write(self._parts.popleft())
        # What waits in the stream is not written yet
        if stream.is_writable:
            self._written.set()

    def start_heart(self) -> None:
        """From now on an idle stream is written to."""
        # No beat at once: there is nothing to write before what was missed
        self._heart = asyncio.get_running_loop().call_later(HEARTBEAT_SECONDS, self._beat)

    def stop_heart(self) -> None:
        """The stream has ended."""
        if self._heart is not None:
            self._heart.cancel()

    def _flush_turn(self) -> None:
        self._will_flush = False
        self.flush()

    def _take_outbox(self) -> None:
        self._is_filled = False
        batch, self.outbox = self.outbox, MessengerBatch()
        self._replies = {}
        size, self._bytes = self._bytes, 0
        self._room.set()
        self._add_positions(batch)
        # Taking the exact size costs as much as writing it
        if size > BATCH_BYTES // 4:
            self._parts.extend(split_batch(batch, BATCH_BYTES))
        else:
            self._parts.append(batch)

    def _add_positions(self, batch: MessengerBatch) -> None:
        """How far the gateway has followed the commit log with this batch. Everything up to the vector was
        added to this batch or to one before it; a gateway that still catches up has not been sent
        everything."""
        if self._held is not None:
            return
        vector = self._followed.vector
        if vector is not self._sent_vector:
            self._sent_vector = vector
            for writer, number in vector.items():
                batch.followed.add(writer=writer, number=number)
        if self._has_repeats:
            # The gateway must remember what it delivers of this batch: some of it is there twice
            self._has_repeats = False
            self._is_filled = True
        else:
            batch.settled = self._followed.settled

    def _beat(self) -> None:
        # A timer of its own, and not a time limit on each wait, which costs a task a batch
        self._schedule()
        self.start_heart()

    async def written(self) -> None:
        """Waits until all that was added is written."""
        await self._written.wait()


class GatewayReply:
    """Answers one send that came through a gateway's stream, from the gateway's socket `socket`, as its
    request number `request`."""

    __slots__ = ("gateway", "request", "socket")

    def __init__(self, gateway: GatewayConnection, socket: int, request: int) -> None:
        self.gateway = gateway
        self.socket = socket
        self.request = request

    def store(self, send: PendingSend) -> None:
        """See `Reply.store`. What is all new is answered by its delivery."""
        if send.stored is None:
            return
        stored = stored_keys(send)
        self.gateway.outbox.sent.add(
            request=self.request,
            seqs=[one.seq for one in stored],
            ids=[one.id for one in stored],
            created_at=[one.created_at for one in stored],
        )
        self.gateway.wake(ENTRY_BYTES + KEY_BYTES * len(stored))

    def refuse(self, error: Exception) -> None:
        """See `Reply.refuse`."""
        self.gateway.refuse_send(self.request, error)


def size_of(page: Page) -> int:
    """About how many bytes a page takes."""
    return ENTRY_BYTES * (1 + len(page.rows)) + 2 * sum([len(row[TEXT]) for row in page.rows])


def split_batch(batch: MessengerBatch, most_bytes: int) -> Iterator[MessengerBatch]:
    """The batch in pieces of about `most_bytes`: its deliveries in order, its pages, and the rest behind
    them. Only the last has positions: with it everything up to them has been sent."""
    return batches.split_batch(
        batch,
        most_bytes,
        # Sockets that have missed something must be sent away before they get what came after it
        first=("opened", "log_trimmed"),
        entries=("deliveries", "read_replies", "sent", "receipts", "typings", "presences", "errors"),
    )
