"""The gateway's end of `Attach`: one stream to a messenger, and to another one when that breaks.

Sends, receipts and reads are kept until the messenger has answered. When the stream breaks they are sent
again, sends with their client ids and marked `retry`, so that none is lost and none is stored twice; and the
messenger delivers what was committed behind the positions that this gateway has followed.
"""

import asyncio
import random
from typing import Protocol

import grpc
import grpc.aio

from palaver.contracts.ids import new_id, text_from_id
from palaver.gateway import metrics
from palaver.gateway.upstream.delivered import Delivered
from palaver.gateway.upstream.incoming import IncomingBatches, StreamHandler
from palaver.gateway.upstream.outbox import Outbox
from palaver.gateway.upstream.pending_reads import PendingReads
from palaver.gateway.upstream.pending_receipts import PendingReceipts, add_receipt
from palaver.gateway.upstream.pending_sends import PendingSend, PendingSends, Sender, add_send
from palaver.gateway.upstream.reopening import first_batches
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
# A messenger that stops has ended its streams by then; one that cannot finish its work is left.
LEAVE_SECONDS = 0.5


class StreamClient(Protocol):
    """What opens a stream. `target`: which messenger the newest one goes to, for the log."""

    @property
    def target(self) -> str:
        """See above."""
        ...

    async def open(self) -> MessageStream:
        """A stream to a messenger that is there; the one before has ended. Raises `RpcError`."""
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
        self._incoming = IncomingBatches(
            outbox, sends, self._receipts, reads, self._delivered, handler, self._note_leaving
        )
        # The stream that stands, until its messenger has said that it stops
        self._stream: MessageStream | None = None
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

    async def _stay_attached(self) -> None:
        failures = 0
        quiet_until = asyncio.get_running_loop().time() + START_SECONDS
        while True:
            attached_at = asyncio.get_running_loop().time()
            try:
                await self._attach()
            except (grpc.RpcError, asyncio.InvalidStateError) as error:
                # Services that are started together come up in any order
                is_starting = (
                    not self._incoming.received_at and asyncio.get_running_loop().time() < quiet_until
                )
                write = log.info if is_starting else log.warning
                write("no stream to the messenger", cause=reason_of(error), target=self._client.target)
            except Exception:
                # Whatever it was: a gateway without a stream is of no use
                log.exception("stream to the messenger failed")
            if self._incoming.received_at > attached_at:
                failures = 0
            if self._outbox.is_open:
                metrics.BREAKS.inc()
                self._outbox.close()
                self._reads.note_break()
            failures += 1
            # Gateways that lost one messenger do not all come to the others in the same moment
            pause = pause_after(
                failures,
                first=FIRST_PAUSE_SECONDS,
                longest=LONGEST_PAUSE_SECONDS,
                jitter=random.random(),  # noqa: S311 - no secret
            )
            await asyncio.sleep(pause)

    async def _attach(self) -> None:
        stream = self._stream = await self._client.open()
        try:
            openings = list(self._handler.reopenings())
            first = first_batches(
                self._gateway_id, openings, self._delivered, self._sends, self._receipts, self._reads
            )
            self._outbox.open(stream, list(first))
            log.info("attached to the messenger", target=self._client.target, in_flight=len(self._sends))
            stream.receive_with(self._incoming)
            await self._ended_or_silent(stream)
        finally:
            stream.cancel()

    async def _ended_or_silent(self, stream: MessageStream) -> None:
        """Returns when the stream is of no more use. Raises what broke it."""
        loop = asyncio.get_running_loop()
        attached_at = loop.time()
        while loop.time() - max(attached_at, self._incoming.received_at) < SILENCE_SECONDS:
            try:
                async with asyncio.timeout(SILENCE_SECONDS / 3):
                    await stream.ended()
                return
            except TimeoutError:
                continue
        log.warning("the messenger is silent", seconds=SILENCE_SECONDS)

    def _note_leaving(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            asyncio.get_running_loop().call_later(LEAVE_SECONDS, stream.finish)


def reason_of(error: Exception) -> str:
    """Why a stream ended, for the log."""
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {details_of(error)}"
    return error_text(error)
