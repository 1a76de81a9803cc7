"""The messenger's end of `Attach`: what gateways' sockets ask, in batches."""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from typing import TYPE_CHECKING, Any

from palaver.contracts.errors import INVALID, MALFORMED, UNAUTHENTICATED, PalaverError
from palaver.contracts.messenger_pb2 import (
    GatewayBatch,
    ReceiptUpdate,
    ResumeRequest,
    Send,
    SocketOpen,
    TypingUpdate,
)
from palaver.messenger import metrics
from palaver.messenger.realtime.gateway_connection import GatewayConnection, Socket
from palaver.messenger.realtime.memberships import Audience
from palaver.messenger.sequencing import Append
from palaver.messenger.stream.reads import Asks
from palaver.messenger.stream.resume import catch_up, hold_back, resume
from palaver.runtime.sql.database import Database
from palaver.runtime.telemetry.configuration import log
from palaver.runtime.telemetry.trace_context import parse_own_traceparent
from palaver.runtime.tokens import TokenVerifier

if TYPE_CHECKING:
    from palaver.messenger.realtime.engine import Engine

ID_BYTES = 16
MOST_TEXTS = 1_000
MOST_CURSORS = 1_000
# A stopping messenger waits so long for gateways to take what it has to tell.
LAST_WORDS_SECONDS = 2.0


class StreamServer:
    """All gateways' streams of this replica."""

    def __init__(self, engine: "Engine", database: Database, verifier: TokenVerifier) -> None:
        self._engine = engine
        self._database = database
        self._verifier = verifier
        self.asks = Asks(verifier)
        self._readers: dict[GatewayConnection, asyncio.Task[Any]] = {}
        self._stopping = False

    async def attach(self, requests: AsyncIterator[GatewayBatch], context: Any) -> None:
        """Serves one gateway's stream until it ends: `context.write` takes the answers."""
        if self._stopping:
            # One that comes back before the port is closed would hang here until the server's grace ends
            return
        gateway = GatewayConnection()
        reader = asyncio.create_task(self._read_batches(gateway, requests))
        writer = asyncio.create_task(gateway.write_batches(context.write))
        overrun = asyncio.create_task(gateway.overrun.wait())
        tasks = (reader, writer, overrun)
        self._readers[gateway] = reader
        metrics.GATEWAYS.inc()
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            del self._readers[gateway]
            metrics.GATEWAYS.dec()
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            self._detach(gateway)
        if gateway.overrun.is_set():
            metrics.GATEWAYS_CUT.inc()
            log.warning("gateway cut off, which reads too slowly")
        for result in results:
            if isinstance(result, Exception):
                log.warning("stream of a gateway broke", cause=repr(result))

    async def stop(self) -> None:
        """Says what is left to say, then ends all streams: gateways come back to whoever is there."""
        self._stopping = True
        for gateway in list(self._readers):
            try:
                await asyncio.wait_for(gateway.written(), LAST_WORDS_SECONDS)
            except TimeoutError:
                log.warning("gateway does not read; its stream ends")
        for reader in list(self._readers.values()):
            reader.cancel()

    async def _read_batches(self, gateway: GatewayConnection, requests: AsyncIterator[GatewayBatch]) -> None:
        tasks: set[asyncio.Task[None]] = set()
        try:
            async for batch in requests:
                await self._receive_batch(gateway, batch, tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _receive_batch(
        self, gateway: GatewayConnection, batch: GatewayBatch, tasks: set[asyncio.Task[None]]
    ) -> None:
        if batch.hello.since:
            gateway.since = batch.hello.since
            gateway.hold_deliveries()
        for opening in batch.opens:
            await self._open(gateway, opening)
        if batch.reopened and gateway.since:
            # Before its sends: those that were stored already are told to the others by this, and answered
            # after it; no new one can be told by this to its own sender
            await catch_up(gateway, self._database, self._engine)
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
        for asked in batch.resumes:
            self._receive_resume(gateway, asked, tasks)
        if batch.reads:
            start(self._receive_asks(gateway, batch, tasks), tasks)
        for number in batch.drained:
            gateway.note_drained(number)

    async def _receive_asks(
        self, gateway: GatewayConnection, batch: GatewayBatch, tasks: set[asyncio.Task[None]]
    ) -> None:
        """Begins one page a turn of the event loop. All in one turn, the gateway would wait for the last of
        them, then the messenger for the gateway; and so would every message that comes meanwhile."""
        for ask in batch.reads:
            start(self.asks.answer(gateway, ask), tasks)
            await asyncio.sleep(0)

    async def _open(self, gateway: GatewayConnection, opening: SocketOpen) -> None:
        # A reopened socket's token may have expired meanwhile; it was good when the socket was opened, and
        # ended sessions lose their sockets at the gateway
        good_at = opening.opened_at / 1e6 if opening.opened_at else None
        try:
            claims = await self._verifier.verify(opening.token, good_at)
        except PalaverError as error:
            gateway.outbox.opened.add(socket=opening.socket, error=error.kind.code)
            gateway.wake()
            return
        # A message that is older, and is told to this socket later, must not be taken for told before it
        opened_at = opening.opened_at or self._engine.committer.told_until()
        socket = Socket(
            opening.socket,
            gateway,
            claims.user_id,
            claims.session_id,
            opened_at,
            opening.implicit_receipts,
        )
        first = self._engine.hub.add(socket)
        gateway.outbox.opened.add(socket=opening.socket, opened_at=opened_at)
        gateway.wake()
        if not opening.opened_at:
            self._engine.presence.came(socket, first=first)

    def _close(self, gateway: GatewayConnection, number: int) -> None:
        socket = gateway.sockets.get(number)
        if socket is not None and self._engine.hub.remove(socket) and not self._stopping:
            self._engine.presence.went(socket.user_id)
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
        if not is_well_formed(send):
            gateway.refuse_send(send.request, PalaverError(MALFORMED, "malformed send"))
            return
        audience = self._engine.audiences.member_of(send.chat_id, socket.user_id)
        if audience is not None:
            self._engine.admit(append_of(send, socket, audience))
            return

        def admit(found: Audience | PalaverError) -> None:
            if isinstance(found, PalaverError):
                gateway.refuse_send(send.request, found)
            else:
                self._engine.admit(append_of(send, socket, found))

        self._engine.audiences.for_member(send.chat_id, socket.user_id, admit)

    def _receive_receipt(self, gateway: GatewayConnection, receipt: ReceiptUpdate) -> None:
        socket = gateway.sockets.get(receipt.socket)
        if socket is None:
            return
        chat_id, received_seq, read_seq = receipt.chat_id, receipt.received_seq, receipt.read_seq

        def admit(audience: Audience | PalaverError) -> None:
            if isinstance(audience, PalaverError):
                gateway.refuse_frame(socket.number, chat_id, audience)
            else:
                self._engine.imply_receipt(chat_id, socket.user_id, received_seq, read_seq)

        self._engine.audiences.for_member(chat_id, socket.user_id, admit)

    def _receive_typing(self, gateway: GatewayConnection, typing: TypingUpdate) -> None:
        socket = gateway.sockets.get(typing.socket)
        if socket is not None:
            self._engine.tell_typing(typing.chat_id, socket.user_id)

    def _receive_resume(
        self, gateway: GatewayConnection, asked: ResumeRequest, tasks: set[asyncio.Task[None]]
    ) -> None:
        socket = gateway.sockets.get(asked.socket)
        if socket is None:
            return
        if len(asked.chat_ids) != len(asked.after_seqs) or len(asked.chat_ids) > MOST_CURSORS:
            gateway.refuse_frame(
                socket.number, b"", PalaverError(INVALID, "too many cursors", field="cursors")
            )
        elif socket.resuming:
            gateway.refuse_frame(
                socket.number, b"", PalaverError(INVALID, "a resume is under way", field="cursors")
            )
        else:
            cursors = dict(zip(asked.chat_ids, asked.after_seqs, strict=True))
            hold_back(socket, cursors)
            start(resume(socket, cursors, self._database), tasks)


def start(work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
    """Starts work that ends with its stream."""
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


def append_of(send: Send, socket: Socket, audience: Audience) -> Append:
    """What the committer is asked for by a send."""
    trace = parse_own_traceparent(send.traceparent)
    append = Append(
        audience,
        socket.user_id,
        list(send.client_ids),
        list(send.texts),
        send.retry,
        trace.trace_id,
        socket.gateway,
        socket.number,
        send.request,
    )
    if trace.sampled:
        append.trace, append.came_at = trace, time.time_ns()
    return append


def is_well_formed(send: Send) -> bool:
    """Whether a send has the shape that the contract asks for; what is in it the gateway has checked."""
    count = len(send.texts)
    if not 0 < count <= MOST_TEXTS or len(send.client_ids) != count or len(send.chat_id) != ID_BYTES:
        return False
    # A loop and not a generator, whose frame would cost more than the check
    for client_id in send.client_ids:  # noqa: SIM110
        if len(client_id) != ID_BYTES:
            return False
    return True
