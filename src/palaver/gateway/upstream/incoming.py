"""What comes from the messenger on the stream, on its way to sockets and to those who wait for answers."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

from palaver.contracts.errors import RESTARTING
from palaver.contracts.messenger_pb2 import Delivery, MessengerBatch, SentReply, SocketOpen, SocketOpened
from palaver.gateway.upstream.delivered import Delivered
from palaver.gateway.upstream.outbox import Outbox
from palaver.gateway.upstream.pending_reads import PendingReads
from palaver.gateway.upstream.pending_receipts import PendingReceipts
from palaver.gateway.upstream.pending_sends import PendingSend, PendingSends


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


class IncomingBatches:
    """The `StreamReceiver` of all streams to the messenger, one after the other.

    `received_at`: a time of the event loop. `messenger_leaves` is called when a send was refused because the
    messenger stops.
    """

    def __init__(
        self,
        outbox: Outbox,
        sends: PendingSends,
        receipts: PendingReceipts,
        reads: PendingReads,
        delivered: Delivered,
        handler: StreamHandler,
        messenger_leaves: Callable[[], None],
    ) -> None:
        self.received_at = 0.0
        self._outbox = outbox
        self._sends = sends
        self._receipts = receipts
        self._reads = reads
        self._delivered = delivered
        self._handler = handler
        self._messenger_leaves = messenger_leaves

    def resume_writing(self) -> None:
        """See `StreamReceiver`."""
        self._outbox.flush()

    def receive(self, batch: MessengerBatch) -> None:
        """See `StreamReceiver`."""
        self.received_at = asyncio.get_running_loop().time()
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
                self._messenger_leaves()
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
