"""What clients' frames mean in every generation, and what a generation makes of what is delivered."""

from typing import Protocol

from palaver.contracts.errors import PalaverError
from palaver.contracts.ids import text_from_id
from palaver.contracts.messenger_pb2 import Delivery, PresenceEvent, ReceiptEvent, SentReply, TypingEvent
from palaver.gateway.upstream.pending_sends import PendingSend
from palaver.runtime.telemetry.trace_context import NO_TRACE, TraceContext, parse_own_traceparent

# Of what is said of a frame that cannot be understood: it may repeat a part of that frame
MESSAGE_CHARACTERS = 200


class MoveReceipt:
    """Move the user's receipt of a chat; 0: no news."""

    __slots__ = ("chat_id", "read_seq", "received_seq", "trace")

    def __init__(
        self, chat_id: bytes, received_seq: int, read_seq: int, trace: TraceContext = NO_TRACE
    ) -> None:
        self.chat_id = chat_id
        self.received_seq = received_seq
        self.read_seq = read_seq
        self.trace = trace


class Type:
    """Show that the user is typing."""

    __slots__ = ("chat_id", "trace")

    def __init__(self, chat_id: bytes, trace: TraceContext = NO_TRACE) -> None:
        self.chat_id = chat_id
        self.trace = trace


class ResumeChats:
    """Deliver what came behind the last seqs seen."""

    __slots__ = ("cursors", "trace")

    def __init__(self, cursors: dict[bytes, int], trace: TraceContext = NO_TRACE) -> None:
        self.cursors = cursors
        self.trace = trace


class Answer:
    """Nothing but an answer."""

    __slots__ = ("frame",)

    def __init__(self, frame: bytes) -> None:
        self.frame = frame


Command = PendingSend | MoveReceipt | Type | ResumeChats | Answer


class OutboundMessages:
    """New messages of one chat with consecutive seqs, or a changed one, on their way to sockets."""

    __slots__ = (
        "changed",
        "chat_id",
        "chat_text",
        "client_ids",
        "created_at",
        "deleted_at",
        "edited_at",
        "first_seq",
        "ids",
        "sender_id",
        "texts",
        "trace",
    )

    def __init__(self, delivery: Delivery, send: PendingSend | None) -> None:
        """`send`: what the messages were sent by, where that was this gateway. The delivery leaves out what
        stands there."""
        known = delivery if send is None else send
        self.chat_id = known.chat_id
        self.chat_text = text_from_id(known.chat_id)
        self.sender_id = delivery.sender_id if send is None else send.sender.user_id
        self.client_ids = known.client_ids
        self.texts = known.texts
        self.first_seq = delivery.first_seq
        self.ids = delivery.ids
        self.created_at = delivery.created_at
        self.changed = delivery.changed
        self.edited_at = delivery.edited_at
        self.deleted_at = delivery.deleted_at
        self.trace = parse_own_traceparent(delivery.traceparent) if send is None else send.trace


class FrameCodec(Protocol):
    """One generation's frames. Each method gives whole frames ready to write; empty where the generation
    has no frame for it."""

    @property
    def name(self) -> str:
        """`v0`, `v1` or `v2`."""
        ...

    @property
    def implicit_receipts(self) -> bool:
        """Whether its clients can't send receipts."""
        ...

    def read(self, text: bytes) -> Command:
        """What a client's frame means. Raises `malformed`, `invalid`."""
        ...

    def messages(self, messages: OutboundMessages) -> bytes:
        """Messages for those who did not send them."""
        ...

    def sent(self, messages: OutboundMessages) -> bytes:
        """The acknowledgement for the sender's socket."""
        ...

    def stored(self, reply: SentReply, send: PendingSend) -> bytes:
        """The acknowledgement of what had been stored before."""
        ...

    def refused(self, error: PalaverError, send: PendingSend | None, chat_id: bytes) -> bytes:
        """A frame was refused."""
        ...

    def hello(self, user_id: bytes, session_id: bytes, at: int) -> bytes:
        """The socket is attached."""
        ...

    def receipt(self, event: ReceiptEvent) -> bytes:
        """A member has received and read."""
        ...

    def typing(self, event: TypingEvent) -> bytes:
        """A member is typing."""
        ...

    def presence(self, event: PresenceEvent) -> bytes:
        """A companion came or went."""
        ...

    def resumed(self) -> bytes:
        """All that was missed has been delivered."""
        ...
