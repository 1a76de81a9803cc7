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
from palaver.messenger.realtime.gateway_connection import Attachment, Socket
from palaver.messenger.realtime.memberships import Audience
from palaver.messenger.realtime.message_spans import is_sampled
from palaver.messenger.sequencing import Append
from palaver.messenger.stream.reads import Asks
from palaver.messenger.stream.resume import catch_up, hold_back, resume
from palaver.runtime.sql.database import Database
from palaver.runtime.telemetry.configuration import log
from palaver.runtime.tokens import TokenVerifier

if TYPE_CHECKING:
    from palaver.messenger.realtime.engine import Replica

ID_BYTES = 16
MOST_TEXTS = 1_000
MOST_CURSORS = 1_000
# A stopping messenger waits so long for gateways to take what it has to tell.
LAST_WORDS_SECONDS = 2.0


class Streams:
    """All gateways' streams of this replica."""

    def __init__(self, replica: "Replica", database: Database, verifier: TokenVerifier) -> None:
        self._replica = replica
        self._database = database
        self._verifier = verifier
        self.asks = Asks(verifier)
        self._readers: dict[Attachment, asyncio.Task[Any]] = {}
        self._stopping = False

    async def attach(self, requests: AsyncIterator[GatewayBatch], context: Any) -> None:
        """Serves one gateway's stream until it ends: `context.write` takes the answers."""
        if self._stopping:
            # One that comes back before the port is closed would hang here until the server's grace ends
            return
        attachment = Attachment()
        reader = asyncio.create_task(self._read_batches(attachment, requests))
        writer = asyncio.create_task(attachment.write_batches(context.write))
        overrun = asyncio.create_task(attachment.overrun.wait())
        tasks = (reader, writer, overrun)
        self._readers[attachment] = reader
        metrics.GATEWAYS.inc()
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            del self._readers[attachment]
            metrics.GATEWAYS.dec()
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            self._detach(attachment)
        if attachment.overrun.is_set():
            metrics.GATEWAYS_CUT.inc()
            log.warning("gateway cut off, which reads too slowly")
        for result in results:
            if isinstance(result, Exception):
                log.warning("stream of a gateway broke", cause=repr(result))

    async def stop(self) -> None:
        """Says what is left to say, then ends all streams: gateways come back to whoever is there."""
        self._stopping = True
        for attachment in list(self._readers):
            try:
                await asyncio.wait_for(attachment.written(), LAST_WORDS_SECONDS)
            except TimeoutError:
                log.warning("gateway does not read; its stream ends")
        for reader in list(self._readers.values()):
            reader.cancel()

    async def _read_batches(self, attachment: Attachment, requests: AsyncIterator[GatewayBatch]) -> None:
        tasks: set[asyncio.Task[None]] = set()
        try:
            async for batch in requests:
                await self._receive_batch(attachment, batch, tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _receive_batch(
        self, attachment: Attachment, batch: GatewayBatch, tasks: set[asyncio.Task[None]]
    ) -> None:
        if batch.hello.since:
            attachment.since = batch.hello.since
            attachment.hold_deliveries()
        for opening in batch.opens:
            await self._open(attachment, opening)
        if batch.reopened and attachment.since:
            # Before its sends: those that were stored already are told to the others by this, and answered
            # after it; no new one can be told by this to its own sender
            await catch_up(attachment, self._database, self._replica)
        for send in batch.sends:
            self._receive_send(attachment, send)
        for receipt in batch.receipts:
            self._receive_receipt(attachment, receipt)
        for typing in batch.typings:
            self._receive_typing(attachment, typing)
        self._receive_reads(attachment, batch, tasks)
        for number in batch.closes:
            self._close(attachment, number)

    def _receive_reads(
        self, attachment: Attachment, batch: GatewayBatch, tasks: set[asyncio.Task[None]]
    ) -> None:
        for asked in batch.resumes:
            self._receive_resume(attachment, asked, tasks)
        if batch.asks:
            start(self._receive_asks(attachment, batch, tasks), tasks)
        for number in batch.drained:
            attachment.note_drained(number)

    async def _receive_asks(
        self, attachment: Attachment, batch: GatewayBatch, tasks: set[asyncio.Task[None]]
    ) -> None:
        """Begins one page a turn of the event loop. All in one turn, the gateway would wait for the last of
        them, then the messenger for the gateway; and so would every message that comes meanwhile."""
        for ask in batch.asks:
            start(self.asks.answer(attachment, ask), tasks)
            await asyncio.sleep(0)

    async def _open(self, attachment: Attachment, opening: SocketOpen) -> None:
        # A reopened socket's token may have expired meanwhile; it was good when the socket was opened, and
        # ended sessions lose their sockets at the gateway
        good_at = opening.opened_at / 1e6 if opening.opened_at else None
        try:
            claims = await self._verifier.verify(opening.token, good_at)
        except PalaverError as error:
            attachment.outbox.opened.add(socket=opening.socket, error=error.kind.code)
            attachment.wake()
            return
        # A message that is older, and is told to this socket later, must not be taken for told before it
        opened_at = opening.opened_at or self._replica.committer.told_until()
        socket = Socket(
            opening.socket,
            attachment,
            claims.user_id,
            claims.session_id,
            opened_at,
            opening.implicit_receipts,
        )
        first = self._replica.hub.add(socket)
        attachment.outbox.opened.add(socket=opening.socket, opened_at=opened_at)
        attachment.wake()
        if not opening.opened_at:
            self._replica.presence.came(socket, first=first)

    def _close(self, attachment: Attachment, number: int) -> None:
        socket = attachment.sockets.get(number)
        if socket is not None and self._replica.hub.remove(socket) and not self._stopping:
            self._replica.presence.went(socket.user_id)
        # Its resume need not wait for it any more
        attachment.note_drained(number)

    def _detach(self, attachment: Attachment) -> None:
        for number in list(attachment.sockets):
            self._close(attachment, number)

    def _receive_send(self, attachment: Attachment, send: Send) -> None:
        socket = attachment.sockets.get(send.socket)
        if socket is None:
            attachment.refuse_send(send.request, PalaverError(UNAUTHENTICATED))
            return
        if not is_well_formed(send):
            attachment.refuse_send(send.request, PalaverError(MALFORMED, "malformed send"))
            return
        audience = self._replica.audiences.member_of(send.chat_id, socket.user_id)
        if audience is not None:
            self._replica.admit(append_of(send, socket, audience))
            return

        def admit(found: Audience | PalaverError) -> None:
            if isinstance(found, PalaverError):
                attachment.refuse_send(send.request, found)
            else:
                self._replica.admit(append_of(send, socket, found))

        self._replica.audiences.for_member(send.chat_id, socket.user_id, admit)

    def _receive_receipt(self, attachment: Attachment, receipt: ReceiptUpdate) -> None:
        socket = attachment.sockets.get(receipt.socket)
        if socket is None:
            return
        chat_id, received_seq, read_seq = receipt.chat_id, receipt.received_seq, receipt.read_seq

        def admit(audience: Audience | PalaverError) -> None:
            if isinstance(audience, PalaverError):
                attachment.refuse_frame(socket.number, chat_id, audience)
            else:
                self._replica.imply_receipt(chat_id, socket.user_id, received_seq, read_seq)

        self._replica.audiences.for_member(chat_id, socket.user_id, admit)

    def _receive_typing(self, attachment: Attachment, typing: TypingUpdate) -> None:
        socket = attachment.sockets.get(typing.socket)
        if socket is not None:
            self._replica.tell_typing(typing.chat_id, socket.user_id)

    def _receive_resume(
        self, attachment: Attachment, asked: ResumeRequest, tasks: set[asyncio.Task[None]]
    ) -> None:
        socket = attachment.sockets.get(asked.socket)
        if socket is None:
            return
        if len(asked.chat_ids) != len(asked.after_seqs) or len(asked.chat_ids) > MOST_CURSORS:
            attachment.refuse_frame(
                socket.number, b"", PalaverError(INVALID, "too many cursors", field="cursors")
            )
        elif socket.resuming:
            attachment.refuse_frame(
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
    # Each look at a text of a batch makes it anew
    traceparent = send.traceparent
    append = Append(
        audience,
        socket.user_id,
        list(send.client_ids),
        list(send.texts),
        send.retry,
        traceparent[3:35],
        socket.attachment,
        socket.number,
        send.request,
    )
    if is_sampled(traceparent):
        append.traceparent, append.came_at = traceparent, time.time_ns()
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
