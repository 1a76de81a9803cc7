"""The messenger's end of `Attach`: what gateways' sockets send, in batches."""

import asyncio
import time

from palaver.contracts.errors import INVALID, MALFORMED, UNAUTHENTICATED, PalaverError
from palaver.contracts.messenger_pb2 import (
    GatewayBatch,
    ReceiptUpdate,
    ResumeRequest,
    Send,
    TypingUpdate,
)
from palaver.messenger import metrics
from palaver.messenger.pending_send import PendingSend
from palaver.messenger.realtime.engine import Engine
from palaver.messenger.realtime.gateway_connection import GatewayConnection, GatewayReply, Socket
from palaver.messenger.realtime.memberships import CachedChat, Found
from palaver.messenger.realtime.receipt_waiters import ReceiptOrigin
from palaver.messenger.store.opening import Store
from palaver.messenger.stream.batch_receiver import BatchReceiver, start
from palaver.messenger.stream.catch_up import catch_up, reach
from palaver.messenger.stream.checks import (
    ID_BYTES,
    check_chat,
    check_receipt,
    check_resume,
    trace_of,
)
from palaver.messenger.stream.reads import Reads, together
from palaver.messenger.stream.resume import hold_back, resume
from palaver.messenger.stream.send_checks import SendChecks
from palaver.messenger.stream.socket_openings import SocketOpenings
from palaver.runtime.grpc.message_stream import MessageStream
from palaver.runtime.settings.messenger import MessengerSettings
from palaver.runtime.telemetry.configuration import log
from palaver.runtime.telemetry.error_texts import error_text
from palaver.runtime.tokens import TokenVerifier

# The setting's default
SESSION_SECONDS = 30 * 24 * 3600.0
# A stopping messenger waits so long for gateways to take what is left to be written.
FLUSH_SECONDS = 2.0


class StreamServer:
    """All gateways' streams of this replica. `session_seconds`: how long a session lives unless refreshed."""

    def __init__(
        self,
        engine: Engine,
        store: Store,
        verifier: TokenVerifier,
        reads: Reads,
        settings: MessengerSettings,
        session_seconds: float = SESSION_SECONDS,
    ) -> None:
        self._engine = engine
        self._store = store
        self._reads = reads
        self._checks = SendChecks(settings)
        self._openings = SocketOpenings(engine, store.database, verifier, session_seconds)
        self._streams: dict[GatewayConnection, asyncio.Task[None]] = {}
        self._stopping = False

    async def attach(self, stream: MessageStream) -> None:
        """Serves one gateway's stream until it ends.

        Raises `invalid` and `malformed` for what no gateway of ours sends.
        """
        if self._stopping:
            # One that comes back before the port is closed would hang here until the server's grace ends
            return
        gateway = GatewayConnection(self._engine.followed, stream)
        batches = BatchReceiver(self, gateway, stream)
        ended = asyncio.create_task(stream.ended())
        overrun = asyncio.create_task(gateway.overrun.wait())
        self._streams[gateway] = ended
        metrics.GATEWAYS.inc()
        try:
            stream.receive_with(batches)
            gateway.start_heart()
            await asyncio.wait((ended, overrun), return_when=asyncio.FIRST_COMPLETED)
            # No batch that still comes may open a socket
            stream.finish()
            # Before its sockets go: a resume under way would take that for its end, and say so
            batches.stop()
            self._detach(gateway)
            if not gateway.overrun.is_set():
                await flush(gateway)
        finally:
            del self._streams[gateway]
            metrics.GATEWAYS.dec()
            # Before anything is awaited: a second cancellation must not leave its sockets open for ever
            stream.finish()
            batches.stop()
            gateway.stop_heart()
            self._detach(gateway)
            for task in (ended, overrun):
                task.cancel()
            results = await asyncio.gather(ended, overrun, return_exceptions=True)
        if gateway.overrun.is_set():
            metrics.GATEWAYS_CUT.inc()
            log.warning("gateway_reads_too_slowly")
            stream.cancel()
        for result in results:
            if isinstance(result, Exception):
                log.warning("gateway_stream_broke", cause=error_text(result))
        for result in results:
            if isinstance(result, PalaverError) and result.kind in (INVALID, MALFORMED):
                raise result

    async def stop(self) -> None:
        """Writes what is left, then ends all streams: gateways come back to whoever is there."""
        self._stopping = True
        for gateway in list(self._streams):
            await flush(gateway)
        for ended in list(self._streams.values()):
            ended.cancel()

    async def open_sockets(self, gateway: GatewayConnection, batch: GatewayBatch) -> None:
        """Does what a batch begins with: its sockets, and what the gateway missed."""
        if batch.HasField("hello"):
            gateway.takes_shared_pages = batch.hello.takes_shared_pages
        followed = {position.writer: position.number for position in batch.hello.followed}
        if followed:
            gateway.missed_since = followed
            gateway.hold_deliveries()
            await reach(followed, self._store, self._engine)
        await self._openings.open(gateway, batch.opens)
        if batch.reopened and gateway.missed_since:
            missed_since, gateway.missed_since = gateway.missed_since, {}
            # Before its sends: those that were stored already are delivered to the others by this, and
            # answered after it; no new one can be delivered by this to its own sender
            await catch_up(gateway, missed_since, self._store, self._engine)

    def receive_batch(
        self, gateway: GatewayConnection, batch: GatewayBatch, tasks: set[asyncio.Task[None]]
    ) -> None:
        """Does the rest of what a batch asks for. `tasks`: gets what takes longer."""
        for send in batch.sends:
            self._receive_send(gateway, send)
        for receipt in batch.receipts:
            self._receive_receipt(gateway, receipt)
        for typing in batch.typings:
            self._receive_typing(gateway, typing)
        self._receive_reads(gateway, batch, tasks)
        for number in batch.closes:
            self._close(gateway, number)

    def _receive_reads(
        self, gateway: GatewayConnection, batch: GatewayBatch, tasks: set[asyncio.Task[None]]
    ) -> None:
        for request in batch.resumes:
            self._receive_resume(gateway, request, tasks)
        if batch.reads:
            start(self._begin_reads(gateway, batch, tasks), tasks)
        for number in batch.drained:
            gateway.note_drained(number)

    async def _begin_reads(
        self, gateway: GatewayConnection, batch: GatewayBatch, tasks: set[asyncio.Task[None]]
    ) -> None:
        """Begins one page a turn of the event loop. All in one turn, the gateway would wait for the last of
        them, then the messenger for the gateway; and so would every message that comes meanwhile."""
        for requests, shared in together(batch.reads):
            for request in requests:
                start(self._reads.answer(gateway, request, shared), tasks)
            await asyncio.sleep(0)

    def _close(self, gateway: GatewayConnection, number: int) -> None:
        socket = gateway.sockets.get(number)
        if socket is not None:
            self._engine.close_socket(socket)
        # Its resume need not wait for it any more
        gateway.note_drained(number)

    def _detach(self, gateway: GatewayConnection) -> None:
        for number in list(gateway.sockets):
            self._close(gateway, number)

    def _receive_send(self, gateway: GatewayConnection, send: Send) -> None:
        socket = gateway.sockets.get(send.socket)
        if socket is None:
            gateway.refuse_send(send.request, PalaverError(UNAUTHENTICATED))
            return
        try:
            self._checks.check(send)
        except PalaverError as error:
            gateway.refuse_send(send.request, error)
            return
        chat = self._engine.memberships.with_member(send.chat_id, socket.user_id)
        if chat is not None:
            self._engine.admit(chat, pending_send(send, socket, chat))
            return

        def admit(found: Found) -> None:
            if isinstance(found, PalaverError):
                gateway.refuse_send(send.request, found)
            else:
                self._engine.admit(found, pending_send(send, socket, found))

        self._engine.memberships.for_member(send.chat_id, socket.user_id, admit)

    def _receive_receipt(self, gateway: GatewayConnection, receipt: ReceiptUpdate) -> None:
        socket = gateway.sockets.get(receipt.socket)
        if socket is None:
            return
        refusal = check_receipt(receipt)
        if refusal is not None:
            gateway.refuse_frame(socket.number, receipt.chat_id[:ID_BYTES], refusal)
            return
        chat_id, received_seq, read_seq = receipt.chat_id, receipt.received_seq, receipt.read_seq
        origin = ReceiptOrigin(gateway, receipt.number) if receipt.number else None

        def admit(found: Found) -> None:
            if isinstance(found, PalaverError):
                gateway.refuse_frame(socket.number, chat_id, found)
            else:
                self._engine.submit_receipt(chat_id, socket.user_id, received_seq, read_seq, origin)

        self._engine.memberships.for_member(chat_id, socket.user_id, admit)

    def _receive_typing(self, gateway: GatewayConnection, typing: TypingUpdate) -> None:
        socket = gateway.sockets.get(typing.socket)
        if socket is None:
            return
        refusal = check_chat(typing.chat_id)
        if refusal is not None:
            gateway.refuse_frame(socket.number, typing.chat_id[:ID_BYTES], refusal)
            return
        self._engine.publish_typing(typing.chat_id, socket.user_id)

    def _receive_resume(
        self, gateway: GatewayConnection, request: ResumeRequest, tasks: set[asyncio.Task[None]]
    ) -> None:
        socket = gateway.sockets.get(request.socket)
        if socket is None:
            return
        refusal = check_resume(request, is_resuming=socket.resuming)
        if refusal is not None:
            gateway.refuse_frame(socket.number, b"", refusal)
            return
        cursors = dict(zip(request.chat_ids, request.after_seqs, strict=True))
        hold_back(socket, cursors)
        start(resume(socket, cursors, self._store, self._engine.followed), tasks)


async def flush(gateway: GatewayConnection) -> None:
    """Waits until what is left is written, but not for ever."""
    try:
        async with asyncio.timeout(FLUSH_SECONDS):
            await gateway.written()
    except TimeoutError:
        log.warning("gateway_does_not_read")


def pending_send(send: Send, socket: Socket, chat: CachedChat) -> PendingSend:
    """A gateway's send, on its way to the journal."""
    trace = trace_of(send.traceparent)
    return PendingSend(
        chat.membership,
        socket.user_id,
        list(send.client_ids),
        list(send.texts),
        GatewayReply(socket.gateway, socket.number, send.request),
        send.retry,
        trace,
        time.time_ns() if trace.sampled else 0,
    )
