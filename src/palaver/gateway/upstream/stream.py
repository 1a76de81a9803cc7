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

from palaver.contracts.errors import RESTARTING
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
from palaver.gateway import metrics
from palaver.gateway.upstream.batches import BATCH_BYTES, split_batch
from palaver.gateway.upstream.delivered import Delivered
from palaver.gateway.upstream.pending_reads import PendingRead, PendingReads, add_ask
from palaver.gateway.upstream.pending_receipts import PendingReceipt, PendingReceipts, add_receipt
from palaver.gateway.upstream.pending_sends import InFlight, PendingSends, add_send
from palaver.runtime.telemetry.configuration import log

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0
# The messenger says something every 5 s; a stream that is silent for longer is broken.
SILENCE_SECONDS = 15.0
OPENS_AT_ONCE = 500


class Hears(Protocol):
    """What the sockets' side does with what the messenger says."""

    def reopenings(self) -> Iterable[SocketOpen]:
        """All open sockets, for a new stream."""
        ...

    def handle_log_trimmed(self) -> None:
        """The messenger can't deliver what was missed. Comes before everything else of the stream."""
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


class MessengerStream:
    """The stream, and what waits for it."""

    def __init__(self, channel: grpc.aio.Channel, most_frames: int, most_bytes: int) -> None:
        self._stub: Any = MessengerStub(channel)  # type: ignore[no-untyped-call] # generated
        self._sends = PendingSends(most_frames, most_bytes)
        self._receipts = PendingReceipts()
        self.asks = PendingReads(self._ask)
        self._gateway_id = text_from_id(new_id())
        self._delivered = Delivered()
        self._batch = GatewayBatch()
        self._wake = asyncio.Event()
        self._heard_at = 0.0
        self._task: asyncio.Task[None] | None = None
        self.is_attached = False

    def start(self, hears: Hears) -> None:
        """Begins to attach."""
        metrics.IN_FLIGHT.set_function(lambda: len(self._sends))
        metrics.ATTACHED.set_function(lambda: self.is_attached)
        self._task = asyncio.create_task(self._stay_attached(hears), name="link")

    async def settle(self, seconds: float) -> None:
        """Waits until all sends are answered, but no longer than `seconds`."""
        deadline = asyncio.get_running_loop().time() + seconds
        while self._sends and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - an event would be set once a send, for this one moment
            await asyncio.sleep(0.01)
        if self._sends:
            log.warning("sends not answered before the stop", requests=len(self._sends))

    async def stop(self) -> None:
        """Detaches."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def in_flight(self) -> int:
        """Sends that the messenger has not answered yet."""
        return len(self._sends)

    def send(self, sent: InFlight) -> None:
        """Sends messages, now or when the messenger is back. Raises `overloaded`."""
        request = self._sends.add(sent)
        if self.is_attached:
            add_send(self._batch, request, sent, retry=False)
            self._wake.set()

    def _ask(self, number: int, asked: PendingRead) -> bool:
        if self.is_attached:
            add_ask(self._batch, number, asked)
            self._wake.set()
        return self.is_attached

    def move_receipt(self, socket: int, token: str, chat_id: bytes, received_seq: int, read_seq: int) -> None:
        """Says how far a socket's user has come, now or when the messenger is back. Raises `unavailable`."""
        key = (socket, chat_id)
        self._receipts.note(key, PendingReceipt(token, received_seq, read_seq, away=not self.is_attached))
        if self.is_attached:
            add_receipt(self._batch, key, received_seq, read_seq)
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

    async def _stay_attached(self, hears: Hears) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            attached_at = asyncio.get_running_loop().time()
            try:
                await self._attach(hears)
            except (grpc.RpcError, asyncio.InvalidStateError) as error:
                log.warning("no stream to the messenger", cause=reason_of(error))
            except Exception:
                # Whatever it was: a gateway without a link is of no use
                log.exception("stream to the messenger failed")
            if self._heard_at > attached_at:
                pause = FIRST_PAUSE_SECONDS
            if self.is_attached:
                metrics.BREAKS.inc()
                self.asks.note_break()
            self.is_attached = False
            self._batch = GatewayBatch()
            # Full jitter: gateways that lost one messenger do not all come back in the same moment
            await asyncio.sleep(random.uniform(0, pause))  # noqa: S311 - no secret
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _attach(self, hears: Hears) -> None:
        stream = self._stub.Attach()
        tasks: list[asyncio.Task[None]] = []
        try:
            # Nothing is written before the messenger is there: a write to nobody would wait for ever
            await stream.wait_for_connection()
            first = list(self._first_batches(list(hears.reopenings())))
            self._batch = GatewayBatch()
            self.is_attached = True
            log.info("attached to the messenger", in_flight=len(self._sends))
            tasks = [
                asyncio.create_task(self._write_batches(stream, first)),
                asyncio.create_task(self._read_batches(stream, hears)),
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

    def _first_batches(self, openings: list[SocketOpen]) -> Iterator[GatewayBatch]:
        """Who I am, my sockets, and what was not answered; made in one go, without a wait."""
        batch = GatewayBatch()
        batch.hello.gateway_id = self._gateway_id
        batch.hello.followed.extend(self._delivered.followed())
        still_open = {opening.socket for opening in openings}
        receipts = list(self._receipts.again(still_open))
        gone = reopenings_of_gone(
            {**self._sends.senders(), **{key[0]: said.token for key, said in receipts}}, still_open
        )
        for opening in (*openings, *gone):
            batch.opens.append(opening)
            if len(batch.opens) >= OPENS_AT_ONCE:
                yield batch
                batch = GatewayBatch()
        batch.reopened = True
        size = 0
        for request, sent in self._sends.again(asyncio.get_running_loop().time()):
            add_send(batch, request, sent, retry=True)
            metrics.RESENT.inc()
            size += sent.size
            if size > BATCH_BYTES:
                yield batch
                batch, size = GatewayBatch(), 0
        for key, said in receipts:
            add_receipt(batch, key, said.received_seq, said.read_seq)
        for number, asked in self.asks.waiting():
            add_ask(batch, number, asked)
        batch.closes.extend([opening.socket for opening in gone])
        yield from split_batch(batch)

    async def _write_batches(self, stream: Any, first: list[GatewayBatch]) -> None:
        for batch in first:
            await stream.write(batch)
        while True:
            await self._wake.wait()
            self._wake.clear()
            batch, self._batch = self._batch, GatewayBatch()
            for part in split_batch(batch):
                await stream.write(part)

    async def _read_batches(self, stream: Any, hears: Hears) -> None:
        while (batch := await stream.read()) is not grpc.aio.EOF:
            self._heard_at = asyncio.get_running_loop().time()
            self._receive_batch(batch, hears)

    async def _watch_silence(self) -> None:
        attached_at = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() - max(attached_at, self._heard_at) < SILENCE_SECONDS:  # noqa: ASYNC110 - the silence is what is waited for
            await asyncio.sleep(SILENCE_SECONDS / 3)
        log.warning("the messenger is silent", seconds=SILENCE_SECONDS)

    # ---- what the messenger says ----

    def _receive_batch(self, batch: MessengerBatch, hears: Hears) -> None:
        handled: list[tuple[Delivery, InFlight | None]] = []
        try:
            self._handle_batch(batch, hears, handled)
        except Exception:
            # The stream breaks, and the next one brings the whole batch again: what was delivered must not
            # come twice
            for delivery, sent in handled:
                self._delivered.note(*last_of(delivery, sent))
            raise
        self._delivered.follow(batch.followed, settled=batch.settled)
        self._sends.pass_time(self._heard_at)
        self._receipts.pass_time(batch.clock)

    def _handle_batch(
        self, batch: MessengerBatch, hears: Hears, handled: list[tuple[Delivery, InFlight | None]]
    ) -> None:
        """`handled`: gets the new messages that were delivered."""
        if batch.log_trimmed:
            hears.handle_log_trimmed()
        self.asks.hear(batch.read_replies)
        for opened in batch.opened:
            hears.hear_opened(opened)
        for reply in batch.sent:
            if reply.error.code == RESTARTING.code:
                # It waits for the messenger that comes next, as if this one had died
                continue
            sent = self._sends.pop(reply.request)
            if sent is not None:
                hears.hear_reply(reply, sent)
        self._handle_deliveries(batch, hears, handled)
        for refused in batch.errors:
            self._receipts.forget((refused.socket, refused.chat_id))
        hears.hear_batch(batch)

    def _handle_deliveries(
        self, batch: MessengerBatch, hears: Hears, handled: list[tuple[Delivery, InFlight | None]]
    ) -> None:
        settled = batch.settled
        for delivery in batch.deliveries:
            sent = self._sends.pop(delivery.request) if delivery.request else None
            if sent is None and delivery.request:
                continue
            if sent is None and not delivery.resumed:
                self._sends.leave_out_sender(delivery)
            if delivery.changed or delivery.resumed:
                # A resume's are one socket's: noted as delivered, they could hide a message from the others
                hears.hear_delivery(delivery, sent, fresh_only=0)
                continue
            self._receive_new(delivery, sent, hears, settled=settled)
            handled.append((delivery, sent))

    def _receive_new(self, delivery: Delivery, sent: InFlight | None, hears: Hears, *, settled: bool) -> None:
        known = self._delivered.last_seqs
        if settled and not known:
            hears.hear_delivery(delivery, sent, fresh_only=0)
            return
        chat_id, last_seq = last_of(delivery, sent)
        hears.hear_delivery(delivery, sent, fresh_only=known.get(chat_id, 0))
        if not settled:
            self._delivered.note(chat_id, last_seq)


def last_of(delivery: Delivery, sent: InFlight | None) -> tuple[bytes, int]:
    """The chat of new messages, and the last seq of them."""
    chat_id = delivery.chat_id if sent is None else sent.chat_id
    return chat_id, delivery.first_seq + len(delivery.ids) - 1


def reopenings_of_gone(tokens: dict[int, str], still_open: set[int]) -> list[SocketOpen]:
    """Sockets that said something and closed before it was heard: open for as long as it takes to say it
    again. `tokens`: by number, of all that said something."""
    return [
        SocketOpen(socket=number, token=token, opened_at=now_us())
        for number, token in tokens.items()
        if number not in still_open
    ]


def reason_of(error: Exception) -> str:
    """Why a stream ended, in a few words."""
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return repr(error)
