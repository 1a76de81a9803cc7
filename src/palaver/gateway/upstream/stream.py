"""The gateway's end of `Attach`: one stream to a messenger, that comes back by itself.

Sends, receipts and reads are kept until the messenger has answered. When the stream breaks they are sent
again, sends with their client ids and marked `retry`, so that none is lost and none is stored twice; and the
messenger delivers what was committed behind the positions that this gateway has followed.
"""

import asyncio
import random
from collections.abc import Iterable, Iterator
from typing import Protocol

import grpc
import grpc.aio

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
from palaver.contracts.times import now_us
from palaver.gateway import metrics
from palaver.gateway.upstream.batches import BATCH_BYTES, split_batch
from palaver.gateway.upstream.delivered import Delivered
from palaver.gateway.upstream.outbox import Outbox
from palaver.gateway.upstream.pending_reads import PendingReads, add_read
from palaver.gateway.upstream.pending_receipts import PendingReceipts, add_receipt
from palaver.gateway.upstream.pending_sends import PendingSend, PendingSends, Sender, add_send
from palaver.runtime.backoff import pause_after
from palaver.runtime.grpc.errors import details_of
from palaver.runtime.grpc.message_stream import MessageStream
from palaver.runtime.telemetry.configuration import log
from palaver.runtime.telemetry.error_texts import error_text

# How long a messenger that was never there is not worth a warning
START_SECONDS = 30.0
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0
# The messenger sends something every 5 s; a stream that is silent for longer is broken.
SILENCE_SECONDS = 15.0
OPENS_AT_ONCE = 500


class StreamHandler(Protocol):
    """What the sockets' side does with what comes from the messenger."""

    def reopenings(self) -> Iterable[SocketOpen]:
        """All open sockets, for a new stream."""
        ...

    def handle_log_trimmed(self) -> None:
        """The messenger can't deliver what was missed. Comes before everything else of a batch."""
        ...

    def handle_opened(self, opened: SocketOpened) -> None:
        """The messenger has opened a socket. Comes before everything that is for that socket."""
        ...

    def handle_reply(self, reply: SentReply, send: PendingSend) -> None:
        """A send was refused, or had been stored before."""
        ...

    def handle_delivery(self, delivery: Delivery, send: PendingSend | None, *, delivered_seq: int) -> None:
        """New messages; `send`: they are this gateway's own. Seqs up to `delivered_seq` are not new."""
        ...

    def handle_batch(self, batch: MessengerBatch) -> None:
        """The rest, behind all of the above: receipts, typing, presence, resumes, errors."""
        ...


class StreamClient(Protocol):
    """What opens a stream."""

    async def open(self) -> MessageStream:
        """A stream to a messenger that is there. Raises `RpcError`."""
        ...


class MessengerStream:
    """The stream, and what is sent again on the next one when it breaks."""

    def __init__(
        self,
        client: StreamClient,
        outbox: Outbox,
        sends: PendingSends,
        reads: PendingReads,
        handler: StreamHandler,
    ) -> None:
        self._client = client
        self._outbox = outbox
        self._sends = sends
        self._receipts = PendingReceipts()
        self._reads = reads
        self._handler = handler
        self._gateway_id = text_from_id(new_id())
        self._delivered = Delivered()
        self._received_at = 0.0
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def is_attached(self) -> bool:
        """Whether the stream stands."""
        return self._outbox.is_open

    def start(self) -> None:
        """Begins to attach."""
        metrics.IN_FLIGHT.set_function(lambda: len(self._sends))
        metrics.ATTACHED.set_function(lambda: self.is_attached)
        self._tasks.append(asyncio.create_task(self._stay_attached(), name="messenger stream"))

    async def drain(self, seconds: float) -> None:
        """Waits until all sends are answered, but no longer than `seconds`."""
        deadline = asyncio.get_running_loop().time() + seconds
        while self._sends and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - an event would be set once a send, for this one moment
            await asyncio.sleep(0.01)
        if self._sends:
            log.warning("sends not answered before the stop", requests=len(self._sends))

    async def stop(self) -> None:
        """Detaches."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def send(self, send: PendingSend) -> None:
        """Sends messages, now or when the messenger is back. Raises `overloaded`."""
        request = self._sends.add(send)
        if self._outbox.is_open:
            add_send(self._outbox.batch, request, send, retry=False)
            self._outbox.wake()

    def move_receipt(self, sender: Sender, chat_id: bytes, received_seq: int, read_seq: int) -> None:
        """Sends how far a socket's user has come, now or when the messenger is back. Raises `unavailable`."""
        receipt = self._receipts.add(sender, chat_id, received_seq, read_seq)
        if self._outbox.is_open:
            add_receipt(self._outbox.batch, receipt)
            self._outbox.wake()

    # ---- the stream ----

    async def _stay_attached(self) -> None:
        failures = 0
        quiet_until = asyncio.get_running_loop().time() + START_SECONDS
        while True:
            attached_at = asyncio.get_running_loop().time()
            try:
                await self._attach()
            except (grpc.RpcError, asyncio.InvalidStateError) as error:
                # Services that are started together come up in any order
                is_starting = not self._received_at and asyncio.get_running_loop().time() < quiet_until
                write = log.info if is_starting else log.warning
                write("no stream to the messenger", cause=reason_of(error))
            except Exception:
                # Whatever it was: a gateway without a stream is of no use
                log.exception("stream to the messenger failed")
            if self._received_at > attached_at:
                failures = 0
            if self._outbox.is_open:
                metrics.BREAKS.inc()
                self._outbox.close()
                self._reads.note_break()
            failures += 1
            # Gateways that lost one messenger do not all come back in the same moment
            pause = pause_after(
                failures,
                first=FIRST_PAUSE_SECONDS,
                longest=LONGEST_PAUSE_SECONDS,
                jitter=random.random(),  # noqa: S311 - no secret
            )
            await asyncio.sleep(pause)

    async def _attach(self) -> None:
        stream = await self._client.open()
        try:
            first = list(self._first_batches(list(self._handler.reopenings())))
            self._outbox.open(stream, first)
            log.info("attached to the messenger", in_flight=len(self._sends))
            stream.receive_with(self)
            await self._ended_or_silent(stream)
        finally:
            stream.cancel()

    def _first_batches(self, openings: list[SocketOpen]) -> Iterator[GatewayBatch]:
        """Hello, the sockets, and what was not answered; made in one go, without a wait."""
        batch = GatewayBatch()
        batch.hello.gateway_id = self._gateway_id
        batch.hello.takes_shared_pages = True
        batch.hello.followed.extend(self._delivered.followed())
        receipts = list(self._receipts)
        senders = [*self._sends.senders(), *(receipt.sender for receipt in receipts)]
        gone = reopenings_of_gone(senders, {opening.socket for opening in openings})
        for opening in (*openings, *gone):
            batch.opens.append(opening)
            if len(batch.opens) >= OPENS_AT_ONCE:
                yield batch
                batch = GatewayBatch()
        batch.reopened = True
        size = 0
        for request, send in self._sends.resend():
            add_send(batch, request, send, retry=True)
            metrics.RESENT.inc()
            size += send.size
            if size > BATCH_BYTES:
                yield batch
                batch, size = GatewayBatch(), 0
        for receipt in receipts:
            add_receipt(batch, receipt)
        for read in self._reads.resend():
            add_read(batch, read)
        batch.closes.extend([opening.socket for opening in gone])
        yield from split_batch(batch)

    async def _ended_or_silent(self, stream: MessageStream) -> None:
        """Returns when the stream is of no more use. Raises what broke it."""
        loop = asyncio.get_running_loop()
        attached_at = loop.time()
        while loop.time() - max(attached_at, self._received_at) < SILENCE_SECONDS:
            try:
                async with asyncio.timeout(SILENCE_SECONDS / 3):
                    await stream.ended()
                return
            except TimeoutError:
                continue
        log.warning("the messenger is silent", seconds=SILENCE_SECONDS)

    # ---- what comes from the messenger ----

    def resume_writing(self) -> None:
        """See `StreamReceiver`."""
        self._outbox.flush()

    def receive(self, batch: MessengerBatch) -> None:
        """See `StreamReceiver`."""
        self._received_at = asyncio.get_running_loop().time()
        handled: list[tuple[Delivery, PendingSend | None]] = []
        try:
            self._handle_batch(batch, handled)
        except Exception:
            # The stream breaks, and the next one brings the whole batch again: what was delivered must not
            # come twice
            for delivery, send in handled:
                self._delivered.note(*last_of(delivery, send))
            raise
        self._delivered.follow(batch.followed, settled=batch.settled)
        if batch.settled:
            self._sends.forget_resent()

    def _handle_batch(
        self, batch: MessengerBatch, handled: list[tuple[Delivery, PendingSend | None]]
    ) -> None:
        """`handled`: gets the new messages that were delivered."""
        self._handle_openings(batch)
        self._reads.handle_replies(batch.read_replies)
        for reply in batch.sent:
            if reply.error.code == RESTARTING.code:
                # It waits for the messenger that comes next, as if this one had died
                continue
            send = self._sends.pop(reply.request)
            if send is not None:
                self._handler.handle_reply(reply, send)
        self._handle_deliveries(batch, handled)
        self._receipts.remove_stored(batch.stored_receipts)
        for refused in batch.errors:
            self._receipts.remove_refused(refused.socket, refused.chat_id)
        self._handler.handle_batch(batch)

    def _handle_openings(self, batch: MessengerBatch) -> None:
        if batch.log_trimmed:
            self._delivered.restart()
            self._handler.handle_log_trimmed()
        for opened in batch.opened:
            if opened.error:
                # Its receipts are never answered: each new stream would open it again for them
                self._receipts.remove_sender(opened.socket)
            self._handler.handle_opened(opened)

    def _handle_deliveries(
        self, batch: MessengerBatch, handled: list[tuple[Delivery, PendingSend | None]]
    ) -> None:
        settled = batch.settled
        for delivery in batch.deliveries:
            send = self._sends.pop(delivery.request) if delivery.request else None
            if send is None and delivery.request:
                continue
            if send is None and not delivery.resumed:
                self._sends.leave_out_sender(delivery)
            if delivery.changed or delivery.resumed:
                # A resume's are one socket's: noted as delivered, they could hide a message from the others
                self._handler.handle_delivery(delivery, send, delivered_seq=0)
                continue
            self._handle_new(delivery, send, settled=settled)
            handled.append((delivery, send))

    def _handle_new(self, delivery: Delivery, send: PendingSend | None, *, settled: bool) -> None:
        last_seqs = self._delivered.last_seqs
        if settled and not last_seqs:
            self._handler.handle_delivery(delivery, send, delivered_seq=0)
            return
        chat_id, last_seq = last_of(delivery, send)
        self._handler.handle_delivery(delivery, send, delivered_seq=last_seqs.get(chat_id, 0))
        if not settled:
            self._delivered.note(chat_id, last_seq)


def last_of(delivery: Delivery, send: PendingSend | None) -> tuple[bytes, int]:
    """The chat of new messages, and the last seq of them."""
    chat_id = delivery.chat_id if send is None else send.chat_id
    return chat_id, delivery.first_seq + len(delivery.ids) - 1


def reopenings_of_gone(senders: Iterable[Sender], still_open: set[int]) -> list[SocketOpen]:
    """Sockets that closed before the messenger had answered them: open for as long as it takes to send the
    rest again. Their tokens were good when they were opened."""
    gone = {sender.number: sender for sender in senders if sender.number not in still_open}
    return [
        SocketOpen(
            socket=number, token=sender.token, opened_at=sender.opened_at or now_us(), proof=sender.proof
        )
        for number, sender in gone.items()
    ]


def reason_of(error: Exception) -> str:
    """Why a stream ended, for the log."""
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {details_of(error)}"
    return error_text(error)
