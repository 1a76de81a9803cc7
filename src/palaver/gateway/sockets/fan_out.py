"""What comes from the messenger, on its way to the sockets."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from palaver.contracts.errors import CATALOGUE, RESTARTING, UNAUTHENTICATED
from palaver.contracts.messenger_pb2 import Delivery, MessengerBatch, SentReply, SocketOpen, SocketOpened
from palaver.gateway import metrics
from palaver.gateway.sockets.commands import FrameCodec, OutboundMessages
from palaver.gateway.sockets.message_spans import DeliverySpan, record_delivered, record_received
from palaver.gateway.sockets.registry import SocketRegistry
from palaver.gateway.sockets.resume_filter import advance
from palaver.gateway.sockets.socket import NO_COMMITS, Socket
from palaver.gateway.upstream.batches import error_from_proto
from palaver.gateway.upstream.outbox import Outbox
from palaver.gateway.upstream.pending_sends import PendingSend
from palaver.runtime.telemetry.tracing import error_code, tracer

# A socket with no more than this waiting has taken its page of a resume. Where no more than this waits,
# transports do not say when the peer has read on.
DRAINED_BYTES = 65_536


class FanOut:
    """The `StreamHandler` of the sockets. Frames are written, counted and traced at the end of a batch."""

    def __init__(self, registry: SocketRegistry, outbox: Outbox) -> None:
        self._registry = registry
        self._outbox = outbox
        self._paused: set[int] = set()
        # No socket with a higher number was open before this stream: the messenger opens them in their order
        self._last_reopened = 0
        # The last that was read: sockets that open between two commits share one object
        self._opened_after = NO_COMMITS
        # What became of the batch until now
        self._delivered: Counter[str] = Counter()
        self._resumed: Counter[str] = Counter()
        self._traced: list[DeliverySpan] = []
        self._received_at = 0

    # ---- what sockets do ----

    def forget(self, socket: Socket) -> None:
        """A connection is gone."""
        self._paused.discard(socket.number)

    def request_resume(self, socket: Socket) -> None:
        """Requests what a socket's resume, where it has one, is to deliver."""
        cursors = socket.resuming
        if cursors is None:
            return
        self._outbox.batch.resumes.add(
            socket=socket.number, chat_ids=list(cursors), after_seqs=list(cursors.values())
        )
        self._outbox.wake()

    def note_drained(self, socket: Socket) -> None:
        """A socket has little waiting: if its resume waits for that, it may go on."""
        if socket.number in self._paused and socket.websocket.waiting() <= DRAINED_BYTES:
            self._paused.discard(socket.number)
            self._outbox.batch.drained.append(socket.number)
            self._outbox.wake()

    # ---- upstream.incoming.StreamHandler ----

    def reopenings(self) -> Iterable[SocketOpen]:
        """See `StreamHandler`."""
        self._paused.clear()
        for socket in self._registry.open.values():
            socket.attached = False
            if socket.opened_at:
                self._last_reopened = socket.number
            yield opening_of(socket)

    def handle_log_trimmed(self) -> None:
        """Closes the sockets that may have missed something: their clients come back and resume."""
        for socket in [one for one in self._registry.open.values() if one.number <= self._last_reopened]:
            self._registry.close(socket, RESTARTING)

    def handle_opened(self, opened: SocketOpened) -> None:
        """See `StreamHandler`."""
        socket = self._registry.open.get(opened.socket)
        if socket is None:
            return
        if opened.error:
            self._registry.close(socket, CATALOGUE.get(opened.error, UNAUTHENTICATED))
            return
        is_new = not socket.opened_at
        socket.opened_at, socket.proof = opened.opened_at, opened.proof
        if is_new:
            socket.opened_after = self._read_positions(opened)
            socket.write(socket.generation.hello(socket.user_id, socket.session_id, opened.opened_at))
        socket.attached = True
        self.request_resume(socket)

    def _read_positions(self, opened: SocketOpened) -> Mapping[int, int]:
        positions = {position.writer: position.number for position in opened.opened_after}
        if positions != self._opened_after:
            self._opened_after = positions
        return self._opened_after

    def handle_reply(self, reply: SentReply, send: PendingSend) -> None:
        """See `StreamHandler`."""
        socket = self._registry.open.get(send.sender.number)
        code = ""
        if reply.HasField("error"):
            error = error_from_proto(reply.error)
            code = error_code(error)
            if socket is not None:
                self._registry.refuse(socket, error, send)
        elif socket is not None:
            socket.write(socket.generation.stored(reply, send))
        if code or send.trace.sampled:
            record_received(send, socket, None, code)

    def handle_delivery(self, delivery: Delivery, send: PendingSend | None, *, delivered_seq: int) -> None:
        """See `StreamHandler`."""
        messages = OutboundMessages(delivery, send)
        if send is not None:
            self._acknowledge(messages, send)
        if delivered_seq and messages.first_seq + len(messages.ids) - 1 <= delivered_seq:
            return
        sockets = self._deliver(delivery, messages)
        if sockets:
            self._note(delivery, messages, send, sockets)

    def _acknowledge(self, messages: OutboundMessages, send: PendingSend) -> None:
        sender = self._registry.open.get(send.sender.number)
        if sender is not None:
            sender.write(sender.generation.sent(messages))
            advance(sender, messages)
        self._received_at = send.received_at
        if send.trace.sampled or (tracer.is_on and time.time_ns() - send.received_at >= tracer.slow_ns):
            record_received(send, sender, messages)

    def _deliver(self, delivery: Delivery, messages: OutboundMessages) -> list[Socket]:
        """Queues messages for the sockets that get them. Returns those."""
        sockets = []
        rendered: dict[FrameCodec, bytes] = {}
        writer, commit = 0, 0
        if delivery.HasField("commit"):
            writer, commit = delivery.commit.writer, delivery.commit.number
        for number in delivery.sockets:
            socket = self._registry.open.get(number)
            if socket is None or (commit and socket.opened_after.get(writer, 0) >= commit):
                # Gone, or opened after the commit of what others missed
                continue
            generation = socket.generation
            frames = rendered.get(generation)
            if frames is None:
                frames = rendered[generation] = generation.messages(messages)
            if advance(socket, messages, resumed=delivery.resumed):
                socket.write(frames)
                sockets.append(socket)
        return sockets

    def _note(
        self,
        delivery: Delivery,
        messages: OutboundMessages,
        send: PendingSend | None,
        sockets: Sequence[Socket],
    ) -> None:
        """Notes what is counted and traced once the frames are written out."""
        for socket in sockets:
            self._delivered[socket.generation.name] += len(messages.ids)
        if delivery.resumed:
            for socket in sockets:
                self._resumed[socket.generation.name] += len(messages.ids)
                if socket.resume_span is not None:
                    socket.resume_span.add(messages)
            return
        trace = messages.trace
        if trace.trace_id and not trace.sampled and send is None:
            # From the journal, which does not know whether the message was sampled
            trace = tracer.begin(trace, is_edge=True)
        if trace.sampled:
            self._traced.append(DeliverySpan(messages, trace.trace_id, time.time_ns(), sockets))

    def handle_batch(self, batch: MessengerBatch) -> None:
        """See `StreamHandler`."""
        self._handle_events(batch)
        for refused in batch.errors:
            for socket in self._registry.find([refused.socket]):
                if socket.resuming is not None:
                    # No page of this chat comes: nothing live may wait for one
                    socket.resuming.pop(refused.chat_id, None)
                self._registry.refuse(socket, error_from_proto(refused.error), None, refused.chat_id)
        resumed = self._registry.find(batch.resumed)
        for socket in resumed:
            socket.resuming = None
            socket.write(socket.generation.resumed())
        self._registry.flush()
        self._measure(resumed)
        for socket in self._registry.find(batch.paused):
            self._paused.add(socket.number)
            self.note_drained(socket)

    def _handle_events(self, batch: MessengerBatch) -> None:
        """What members do, for others to see."""
        for receipt in batch.receipts:
            for socket in self._registry.find(receipt.sockets):
                socket.write(socket.generation.receipt(receipt))
        for typing in batch.typings:
            for socket in self._registry.find(typing.sockets):
                socket.write(socket.generation.typing(typing))
        for presence in batch.presences:
            for socket in self._registry.find(presence.sockets):
                socket.write(socket.generation.presence(presence))

    def _measure(self, resumed: Iterable[Socket]) -> None:
        """Counts and traces what was written out just now."""
        for counts, metric in (
            (self._registry.accepted, metrics.ACCEPTED),
            (self._delivered, metrics.DELIVERED),
            (self._resumed, metrics.RESUMED),
        ):
            for generation, count in counts.items():
                metric.labels(generation).inc(count)
            counts.clear()
        if self._received_at:
            metrics.ACK_SECONDS.observe((time.time_ns() - self._received_at) / 1e9)
            self._received_at = 0
        traced, self._traced = self._traced, []
        for delivered in traced:
            record_delivered(delivered)
        for socket in resumed:
            if socket.resume_span is not None:
                socket.resume_span.end()
                socket.resume_span = None


def opening_of(socket: Socket) -> SocketOpen:
    """How the messenger opens a socket."""
    return SocketOpen(
        socket=socket.number,
        token=socket.token,
        opened_at=socket.opened_at,
        implicit_receipts=socket.generation.implicit_receipts,
        proof=socket.proof,
    )
