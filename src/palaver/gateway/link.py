"""The gateway's end of `Attach`: one stream to a messenger, that comes back by itself.

Sends wait here until the messenger has answered. When the stream breaks they are sent again, with their
client ids and marked `retry`, so that none is lost and none is stored twice; and the messenger tells again
what was committed meanwhile, of which the link passes on what it had not passed on before.
"""

import asyncio
import random
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import grpc

from palaver.contracts.errors import OVERLOADED, RESTARTING, PalaverError
from palaver.contracts.ids import new_id, text_from_id
from palaver.contracts.messenger_pb2 import (
    Delivery,
    GatewayBatch,
    MessengerBatch,
    SentReply,
    SocketOpen,
    SocketOpened,
)
from palaver.contracts.messenger_pb2_grpc import MessengerStub
from palaver.contracts.times import now_us
from palaver.runtime.telemetry import log

# The messenger tells again what was committed this long before the newest word heard of it: commits and
# queues take time. Microseconds.
MARGIN_US = 10_000_000
# What was passed on is remembered for longer than that. Microseconds.
REMEMBER_US = 30_000_000
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0
# The messenger says something every 5 s; a stream that is silent for longer is broken.
SILENCE_SECONDS = 15.0
# What was sent again is remembered for so long. The messenger has told of it by then.
RESENT_SECONDS = 60.0
BATCH_BYTES = 4 * 1024 * 1024
OPENS_AT_ONCE = 500


class InFlight:
    """A send that the messenger has not answered yet."""

    __slots__ = ("chat_id", "client_ids", "sender_id", "size", "socket", "texts", "token", "traceparent")

    def __init__(
        self,
        socket: int,
        sender_id: bytes,
        chat_id: bytes,
        client_ids: list[bytes],
        texts: list[str],
        traceparent: str,
        token: str = "",
    ) -> None:
        self.socket = socket
        self.sender_id = sender_id
        self.chat_id = chat_id
        self.client_ids = client_ids
        self.texts = texts
        self.traceparent = traceparent
        self.token = token
        # About how many bytes it takes in a batch
        self.size = 100 + 2 * (len(texts[0]) if len(texts) == 1 else sum(map(len, texts)))


class Told:
    """Which messages were passed on lately: chat id -> last seq, forgotten after a while."""

    def __init__(self) -> None:
        self._new: dict[bytes, int] = {}
        self._old: dict[bytes, int] = {}
        self._since = 0

    def note(self, chat_id: bytes, seq: int) -> None:
        """A message was passed on."""
        self._new[chat_id] = seq

    def last_seq(self, chat_id: bytes) -> int:
        """The last seq passed on, or 0 where it is not remembered."""
        return self._new.get(chat_id) or self._old.get(chat_id, 0)

    def pass_time(self, clock: int) -> None:
        """Forgets what is older than `REMEMBER_US` by the messenger's clock, which stands still while the
        messenger is away: what may be told again is remembered for as long as that."""
        if clock - self._since > REMEMBER_US:
            self._old, self._new, self._since = self._new, {}, clock


class Hears(Protocol):
    """What the sockets' side does with what the messenger says."""

    def reopenings(self) -> Iterable[SocketOpen]:
        """All open sockets, for a new stream."""
        ...

    def hear_opened(self, opened: SocketOpened) -> None:
        """The messenger has a socket. Comes before everything that is told to it."""
        ...

    def hear_batch(self, batch: MessengerBatch) -> None:
        """Everything but openings and sends' outcomes: receipts, typing, presence, resumes, errors."""
        ...

    def hear_delivery(self, delivery: Delivery, sent: InFlight | None, *, fresh_only: int) -> None:
        """New messages; `sent`: they are this gateway's own. Seqs up to `fresh_only` were passed on."""
        ...

    def hear_reply(self, reply: SentReply, sent: InFlight) -> None:
        """A send was refused, or had been stored before."""
        ...


class Link:
    """The stream, and what waits for it."""

    def __init__(self, channel: grpc.aio.Channel, hears: Hears, most_frames: int, most_bytes: int) -> None:
        self._stub: Any = MessengerStub(channel)  # type: ignore[no-untyped-call] # generated
        self._hears = hears
        self._most_frames = most_frames
        self._most_bytes = most_bytes
        self._gateway_id = text_from_id(new_id())
        self._request = 0
        self._in_flight: dict[int, InFlight] = {}
        self._bytes = 0
        self._told = Told()
        # (chat, sender, client id) of what was sent again -> the socket that sent it
        self._resent: dict[tuple[bytes, bytes, bytes], int] = {}
        self._resent_until = 0.0
        self._clock = 0
        self._batch = GatewayBatch()
        self._wake = asyncio.Event()
        self._heard_at = 0.0
        self._task: asyncio.Task[None] | None = None
        self.is_attached = False

    def start(self) -> None:
        """Begins to attach."""
        self._task = asyncio.create_task(self._stay_attached(), name="link")

    async def stop(self, seconds: float) -> None:
        """Waits until all sends are answered, but no longer than `seconds`, then detaches."""
        deadline = asyncio.get_running_loop().time() + seconds
        while self._in_flight and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - an event would be set once a send, for this one moment
            await asyncio.sleep(0.01)
        if self._in_flight:
            log.warning("sends not answered before the stop", requests=len(self._in_flight))
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def in_flight(self) -> int:
        """Sends that the messenger has not answered yet."""
        return len(self._in_flight)

    def send(self, sent: InFlight) -> None:
        """Sends messages, now or when the messenger is back. Raises `overloaded`."""
        if len(self._in_flight) >= self._most_frames or self._bytes >= self._most_bytes:
            raise PalaverError(OVERLOADED, retry_after=1.0, in_flight=len(self._in_flight))
        self._request += 1
        self._in_flight[self._request] = sent
        self._bytes += sent.size
        if self.is_attached:
            add_send(self._batch, self._request, sent, retry=False)
            self._wake.set()

    @property
    def batch(self) -> GatewayBatch:
        """What leaves next; call `wake` after adding to it. Lost where the messenger is away: it would only
        grow until that is back (promise P9)."""
        return self._batch if self.is_attached else GatewayBatch()

    def wake(self) -> None:
        """Lets the batch leave at the end of this turn of the event loop."""
        self._wake.set()

    # ---- the stream ----

    async def _stay_attached(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            attached_at = asyncio.get_running_loop().time()
            try:
                await self._attach()
            except (grpc.RpcError, asyncio.InvalidStateError) as error:
                log.warning("no stream to the messenger", cause=reason_of(error))
            except Exception:
                # Whatever it was: a gateway without a link is of no use
                log.exception("stream to the messenger failed")
            if self._heard_at > attached_at:
                pause = FIRST_PAUSE_SECONDS
            self.is_attached = False
            self._batch = GatewayBatch()
            # Full jitter: gateways that lost one messenger do not all come back in the same moment
            await asyncio.sleep(random.uniform(0, pause))  # noqa: S311 - no secret
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _attach(self) -> None:
        stream = self._stub.Attach()
        tasks: list[asyncio.Task[None]] = []
        try:
            # Nothing is written before the messenger is there: a write to nobody would wait for ever
            await stream.wait_for_connection()
            first = list(self._first_batches())
            self._batch = GatewayBatch()
            self.is_attached = True
            log.info("attached to the messenger", in_flight=len(self._in_flight))
            tasks = [
                asyncio.create_task(self._write_batches(stream, first)),
                asyncio.create_task(self._read_batches(stream)),
                asyncio.create_task(self._watch_silence()),
            ]
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            stream.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _first_batches(self) -> Iterator[GatewayBatch]:
        """Who I am, my sockets, and the sends that were not answered; made in one go, without a wait."""
        batch = GatewayBatch()
        batch.hello.gateway_id = self._gateway_id
        batch.hello.since = max(0, self._clock - MARGIN_US)
        openings = list(self._hears.reopenings())
        gone = self._gone_senders({opening.socket for opening in openings})
        for opening in (*openings, *gone):
            batch.opens.append(opening)
            if len(batch.opens) >= OPENS_AT_ONCE:
                yield batch
                batch = GatewayBatch()
        batch.reopened = True
        self._resent = {
            (sent.chat_id, sent.sender_id, client_id): sent.socket
            for sent in self._in_flight.values()
            for client_id in sent.client_ids
        }
        self._resent_until = asyncio.get_running_loop().time() + RESENT_SECONDS
        size = 0
        for request, sent in self._in_flight.items():
            add_send(batch, request, sent, retry=True)
            size += sent.size
            if size > BATCH_BYTES:
                yield batch
                batch, size = GatewayBatch(), 0
        batch.closes.extend([opening.socket for opening in gone])
        yield batch

    def _gone_senders(self, open_sockets: set[int]) -> list[SocketOpen]:
        """Sockets that sent something and closed before it was answered: open for as long as it takes to send
        it again."""
        gone = {s.socket: s for s in self._in_flight.values() if s.socket not in open_sockets}
        return [SocketOpen(socket=n, token=sent.token, opened_at=now_us()) for n, sent in gone.items()]

    async def _write_batches(self, stream: Any, first: list[GatewayBatch]) -> None:
        for batch in first:
            await stream.write(batch)
        while True:
            await self._wake.wait()
            self._wake.clear()
            batch, self._batch = self._batch, GatewayBatch()
            for part in split_batch(batch):
                await stream.write(part)

    async def _read_batches(self, stream: Any) -> None:
        while (batch := await stream.read()) is not grpc.aio.EOF:
            self._heard_at = asyncio.get_running_loop().time()
            self._receive_batch(batch)

    async def _watch_silence(self) -> None:
        attached_at = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() - max(attached_at, self._heard_at) < SILENCE_SECONDS:  # noqa: ASYNC110 - the silence is what is waited for
            await asyncio.sleep(SILENCE_SECONDS / 3)
        log.warning("the messenger is silent", seconds=SILENCE_SECONDS)

    # ---- what the messenger says ----

    def _receive_batch(self, batch: MessengerBatch) -> None:
        hears = self._hears
        in_flight = self._in_flight
        for opened in batch.opened:
            hears.hear_opened(opened)
        for reply in batch.sent:
            if reply.error.code == RESTARTING.code:
                # It waits for the messenger that comes next, as if this one had died
                continue
            sent = in_flight.pop(reply.request, None)
            if sent is not None:
                self._bytes -= sent.size
                hears.hear_reply(reply, sent)
        for delivery in batch.deliveries:
            sent = None
            if delivery.request:
                sent = in_flight.pop(delivery.request, None)
                if sent is None:
                    continue
                self._bytes -= sent.size
            self._receive_delivery(delivery, sent)
        hears.hear_batch(batch)
        self._clock = max(self._clock, batch.clock)
        self._told.pass_time(self._clock)
        if self._resent and self._heard_at > self._resent_until:
            self._resent = {}

    def _receive_delivery(self, delivery: Delivery, sent: InFlight | None) -> None:
        if delivery.resumed:
            # One socket's: noted as passed on, it could hide a message from the others
            self._hears.hear_delivery(delivery, sent, fresh_only=0)
            return
        if sent is None and self._resent and not delivery.changed:
            self._leave_out_sender(delivery)
        chat_id = delivery.chat_id if sent is None else sent.chat_id
        if delivery.changed:
            self._hears.hear_delivery(delivery, sent, fresh_only=0)
            return
        fresh_only = self._told.last_seq(chat_id)
        self._hears.hear_delivery(delivery, sent, fresh_only=fresh_only)
        last_seq = delivery.first_seq + len(delivery.ids) - 1
        if last_seq > fresh_only:
            self._told.note(chat_id, last_seq)

    def _leave_out_sender(self, delivery: Delivery) -> None:
        """What was sent again may have been stored at first, and comes as anybody's message then. Its sender
        is acknowledged, and not told."""
        number = self._resent.get((delivery.chat_id, delivery.sender_id, delivery.client_ids[0]))
        if number is not None and number in delivery.sockets:
            delivery.sockets.remove(number)


def add_send(batch: GatewayBatch, request: int, sent: InFlight, *, retry: bool) -> None:
    """Adds a send to a batch."""
    batch.sends.add(
        socket=sent.socket,
        request=request,
        chat_id=sent.chat_id,
        client_ids=sent.client_ids,
        texts=sent.texts,
        retry=retry,
        traceparent=sent.traceparent,
    )


def split_batch(batch: GatewayBatch) -> Iterator[GatewayBatch]:
    """The batch in pieces of about `BATCH_BYTES`, its opens first and its closes last."""
    if batch.ByteSize() <= BATCH_BYTES:
        yield batch
        return
    sends = list(batch.sends)
    part = GatewayBatch(opens=batch.opens)
    del batch.sends[:]
    del batch.opens[:]
    size = 0
    for send in sends:
        part.sends.append(send)
        size += send.ByteSize()
        if size > BATCH_BYTES:
            yield part
            part, size = GatewayBatch(), 0
    yield part
    yield batch


def reason_of(error: Exception) -> str:
    """Why a stream ended, in a few words."""
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return repr(error)
