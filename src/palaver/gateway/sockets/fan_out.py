"""What the messenger says, on its way to the sockets."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence

from palaver.contracts.errors import CATALOGUE, UNAUTHENTICATED
from palaver.contracts.messenger_pb2 import Delivery, MessengerBatch, SentReply, SocketOpen, SocketOpened
from palaver.gateway import metrics
from palaver.gateway.sockets.commands import Generation, OutboundMessages
from palaver.gateway.sockets.message_spans import DeliverySpan, record_delivered, record_received
from palaver.gateway.sockets.registry import Socket, SocketRegistry
from palaver.gateway.sockets.resume_filter import is_due
from palaver.gateway.upstream.batches import error_from_proto
from palaver.gateway.upstream.pending_sends import InFlight
from palaver.gateway.upstream.stream import MessengerStream
from palaver.runtime.telemetry.tracing import error_code, tracer

# A socket with no more than this waiting has taken its page of a resume. Where no more than this waits,
# transports do not say when the peer has read on.
DRAINED_BYTES = 65_536


class FanOut:
    """Implements `link.Hears`. Frames are written out, counted and traced at the end of a batch."""

    def __init__(self, peers: SocketRegistry, link: MessengerStream) -> None:
        self._peers = peers
        self._link = link
        self._paused: set[int] = set()
        # What became of the batch until now
        self._delivered: Counter[str] = Counter()
        self._resumed: Counter[str] = Counter()
        self._traced: list[DeliverySpan] = []
        self._heard_at = 0

    def reopenings(self) -> Iterable[SocketOpen]:
        """See `link.Hears`."""
        self._paused.clear()
        for socket in self._peers.open.values():
            socket.attached = False
            yield opening_of(socket)

    def forget(self, socket: Socket) -> None:
        """A connection is gone."""
        self._paused.discard(socket.number)

    def ask_resume(self, socket: Socket) -> None:
        """Asks for what a socket's resume, where it has one, is to tell."""
        cursors = socket.resuming
        if cursors is None:
            return
        self._link.batch.resumes.add(
            socket=socket.number, chat_ids=list(cursors), after_seqs=list(cursors.values())
        )
        self._link.wake()

    # ---- link.Hears ----

    def hear_opened(self, opened: SocketOpened) -> None:
        """See `link.Hears`."""
        socket = self._peers.open.get(opened.socket)
        if socket is None:
            return
        if opened.error:
            self._peers.close(socket, CATALOGUE.get(opened.error, UNAUTHENTICATED))
            return
        if not socket.opened_at:
            socket.opened_at = opened.opened_at
            socket.write(socket.generation.hello(socket.user_id, socket.session_id, opened.opened_at))
        socket.attached = True
        self.ask_resume(socket)

    def hear_reply(self, reply: SentReply, sent: InFlight) -> None:
        """See `link.Hears`."""
        socket = self._peers.open.get(sent.socket)
        code = ""
        if reply.HasField("error"):
            error = error_from_proto(reply.error)
            code = error_code(error)
            if socket is not None:
                self._peers.refuse(socket, error, sent)
        elif socket is not None:
            socket.write(socket.generation.stored(reply, sent))
        if code or sent.trace.sampled:
            record_received(sent, socket, None, code)

    def hear_delivery(self, delivery: Delivery, sent: InFlight | None, *, fresh_only: int) -> None:
        """See `link.Hears`."""
        told = OutboundMessages(delivery, sent)
        if sent is not None:
            self._acknowledge(told, sent)
        last_seq = told.first_seq + len(told.ids) - 1
        if last_seq <= fresh_only:
            return
        sockets = self._tell(delivery, told)
        if sockets:
            self._note(delivery, told, sent, sockets)

    def _acknowledge(self, told: OutboundMessages, sent: InFlight) -> None:
        sender = self._peers.open.get(sent.socket)
        if sender is not None:
            sender.write(sender.generation.sent(told))
            is_due(sender, told)
        self._heard_at = sent.heard_at
        if sent.trace.sampled or (tracer.is_on and time.time_ns() - sent.heard_at >= tracer.slow_ns):
            record_received(sent, sender, told)

    def _tell(self, delivery: Delivery, told: OutboundMessages) -> list[Socket]:
        """Writes to all that are to be told. Returns them."""
        sockets = []
        rendered: dict[Generation, bytes] = {}
        for number in delivery.sockets:
            socket = self._peers.open.get(number)
            if socket is None or (delivery.catch_up and told.created_at < socket.opened_at):
                continue
            generation = socket.generation
            frames = rendered.get(generation)
            if frames is None:
                frames = rendered[generation] = generation.told(told)
            if is_due(socket, told, resumed=delivery.resumed):
                socket.write(frames)
                sockets.append(socket)
        return sockets

    def _note(
        self, delivery: Delivery, told: OutboundMessages, sent: InFlight | None, sockets: Sequence[Socket]
    ) -> None:
        """Notes what is counted and traced once the frames are written out."""
        for socket in sockets:
            self._delivered[socket.generation.name] += len(told.ids)
        if delivery.resumed:
            for socket in sockets:
                self._resumed[socket.generation.name] += len(told.ids)
                if socket.resume_span is not None:
                    socket.resume_span.add(told)
            return
        trace = told.trace
        if sent is None and trace.trace_id:
            # From the journal, which does not know whether the message was sampled
            trace = tracer.begin(trace, is_edge=True)
        if trace.sampled:
            self._traced.append(DeliverySpan(told, trace.trace_id, time.time_ns(), sockets))

    def hear_batch(self, batch: MessengerBatch) -> None:
        """See `link.Hears`."""
        self._hear_members(batch)
        for refused in batch.errors:
            for socket in self._peers.found([refused.socket]):
                if socket.resuming is not None:
                    # No page of this chat comes: nothing live may wait for one
                    socket.resuming.pop(refused.chat_id, None)
                self._peers.refuse(socket, error_from_proto(refused.error), None, refused.chat_id)
        resumed = self._peers.found(batch.resumed)
        for socket in resumed:
            socket.resuming = None
            socket.write(socket.generation.resumed())
        self._peers.flush()
        self._measure(resumed)
        for socket in self._peers.found(batch.paused):
            self._paused.add(socket.number)
            self.note_drained(socket)

    def _hear_members(self, batch: MessengerBatch) -> None:
        for receipt in batch.receipts:
            for socket in self._peers.found(receipt.sockets):
                socket.write(socket.generation.receipt(receipt))
        for typing in batch.typings:
            for socket in self._peers.found(typing.sockets):
                socket.write(socket.generation.typing(typing))
        for presence in batch.presences:
            for socket in self._peers.found(presence.sockets):
                socket.write(socket.generation.presence(presence))

    def note_drained(self, socket: Socket) -> None:
        """A socket has little waiting: if its resume waits for that, it may go on."""
        if socket.number in self._paused and socket.wire.waiting() <= DRAINED_BYTES:
            self._paused.discard(socket.number)
            self._link.batch.drained.append(socket.number)
            self._link.wake()

    def _measure(self, resumed: Iterable[Socket]) -> None:
        """Counts and traces what was written out just now."""
        for counts, metric in (
            (self._peers.accepted, metrics.ACCEPTED),
            (self._delivered, metrics.DELIVERED),
            (self._resumed, metrics.RESUMED),
        ):
            for generation, count in counts.items():
                metric.labels(generation).inc(count)
            counts.clear()
        if self._heard_at:
            metrics.ACK_SECONDS.observe((time.time_ns() - self._heard_at) / 1e9)
            self._heard_at = 0
        traced, self._traced = self._traced, []
        for delivered in traced:
            record_delivered(delivered)
        for socket in resumed:
            if socket.resume_span is not None:
                socket.resume_span.end()
                socket.resume_span = None


def opening_of(socket: Socket) -> SocketOpen:
    """How the messenger is told of a socket."""
    return SocketOpen(
        socket=socket.number,
        token=socket.token,
        opened_at=socket.opened_at,
        implicit_receipts=socket.generation.implicit_receipts,
    )
