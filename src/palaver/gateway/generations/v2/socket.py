"""v2's sockets: flat JSON objects with `type`, as contracts/frames.py has them."""

import math
import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import count, repeat

import msgspec

from palaver.contracts import frames
from palaver.contracts.errors import INVALID, MALFORMED, PalaverError
from palaver.contracts.ids import id_from_text, text_from_id
from palaver.contracts.messenger_pb2 import PresenceEvent, ReceiptEvent, SentReply, TypingEvent
from palaver.contracts.seqs import LAST_SEQ
from palaver.contracts.times import now_us, rfc3339
from palaver.gateway.generations.v2.message_shape import frames_of
from palaver.gateway.http.responses import time_text
from palaver.gateway.sockets.commands import (
    MESSAGE_CHARACTERS,
    Answer,
    Command,
    MoveReceipt,
    OutboundMessages,
    ResumeChats,
    Type,
)
from palaver.gateway.sockets.websocket import text_frame
from palaver.gateway.upstream.pending_sends import PendingSend
from palaver.runtime.settings.gateway import GatewaySettings
from palaver.runtime.telemetry.trace_context import NO_TRACE, TraceContext, parse_traceparent
from palaver.runtime.texts import check_text

MOST_CURSORS = 1_000
PING_CHARACTERS = 256
# Of an id that a refusal repeats: it may be anything
ID_CHARACTERS = 36

_read = msgspec.json.Decoder(frames.ClientFrame).decode
_encode = msgspec.json.Encoder().encode
# Messages that are committed together have one time
_committed_at = lru_cache(64)(time_text)


class CodecV2:
    """v2's frames. See `commands.FrameCodec`."""

    name = "v2"
    implicit_receipts = False

    def __init__(self, settings: GatewaySettings) -> None:
        self._most_characters = settings.text_characters
        self._most_bytes = settings.text_bytes

    def read(self, text: bytes) -> Command:
        """See `FrameCodec.read`."""
        try:
            frame = _read(text)
        except msgspec.ValidationError as error:
            message = str(error)[:MESSAGE_CHARACTERS]
            raise PalaverError(INVALID, message, field=field_of(message)) from None
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise PalaverError(
                MALFORMED, f"the frame cannot be understood: {error}"[:MESSAGE_CHARACTERS]
            ) from None
        if isinstance(frame, frames.Send):
            try:
                return self._read_send(frame)
            except PalaverError as error:
                # By its client id the client knows which of its sends it was
                client_id, chat_id = frame.client_id[:ID_CHARACTERS], frame.chat_id[:ID_CHARACTERS]
                return Answer(write(error_frame(error, client_id, chat_id)))
        if isinstance(frame, frames.SendReceipt):
            return read_receipt(frame)
        if isinstance(frame, frames.SendTyping):
            return Type(id_from_text(frame.chat_id, "chat_id"), checked_trace(frame))
        if isinstance(frame, frames.Resume):
            return read_resume(frame)
        if len(frame.id) > PING_CHARACTERS:
            raise PalaverError(INVALID, f"id must have at most {PING_CHARACTERS} characters", field="id")
        return Answer(write(frames.Pong(frame.id)))

    def _read_send(self, frame: frames.Send) -> Command:
        check_text(frame.text, "text", self._most_characters, self._most_bytes)
        return PendingSend(
            id_from_text(frame.chat_id, "chat_id"),
            [id_from_text(frame.client_id, "client_id")],
            [frame.text],
            checked_trace(frame),
        )

    def messages(self, messages: OutboundMessages) -> bytes:
        """See `FrameCodec.messages`."""
        return b"".join(map(write, frames_of(messages)))

    def sent(self, messages: OutboundMessages) -> bytes:
        """See `FrameCodec.sent`."""
        times = repeat(_committed_at(messages.created_at), len(messages.ids))
        seqs = count(messages.first_seq)
        return acknowledge(
            messages.chat_text, messages.trace.trace_id, messages.client_ids, seqs, messages.ids, times
        )

    def stored(self, reply: SentReply, send: PendingSend) -> bytes:
        """See `FrameCodec.stored`."""
        chat_id, trace_id = text_from_id(send.chat_id), send.trace.trace_id
        times = map(time_text, reply.created_at)
        return acknowledge(chat_id, trace_id, send.client_ids, reply.seqs, reply.ids, times)

    def refused(self, error: PalaverError, send: PendingSend | None, chat_id: bytes) -> bytes:
        """See `FrameCodec.refused`."""
        client_id = text_from_id(send.client_ids[0]) if send else ""
        trace_id = send.trace.trace_id if send else ""
        return write(error_frame(error, client_id, text_from_id(chat_id) if chat_id else "", trace_id))

    def hello(self, user_id: bytes, session_id: bytes, at: int) -> bytes:
        """See `FrameCodec.hello`."""
        return write(frames.Hello(text_from_id(user_id), text_from_id(session_id), rfc3339(at)))

    def receipt(self, event: ReceiptEvent) -> bytes:
        """See `FrameCodec.receipt`."""
        return write(
            frames.Receipt(
                text_from_id(event.chat_id), text_from_id(event.user_id), event.received_seq, event.read_seq
            )
        )

    def typing(self, event: TypingEvent) -> bytes:
        """See `FrameCodec.typing`."""
        return write(frames.Typing(text_from_id(event.chat_id), text_from_id(event.user_id)))

    def presence(self, event: PresenceEvent) -> bytes:
        """See `FrameCodec.presence`."""
        last_seen_at = None if event.online else rfc3339(event.last_seen_at or now_us())
        return write(frames.Presence(text_from_id(event.user_id), event.online, last_seen_at))

    def resumed(self) -> bytes:
        """See `FrameCodec.resumed`."""
        return write(frames.Resumed())


def write(frame: frames.FromServer) -> bytes:
    """A whole frame."""
    return text_frame(_encode(frame))


def acknowledge(
    chat_id: str,
    trace_id: str,
    client_ids: Iterable[bytes],
    seqs: Iterable[int],
    ids: Iterable[bytes],
    times: Iterable[str],
) -> bytes:
    """The acknowledgements of messages that one request has sent to a chat. `times`: of their commits."""
    return b"".join(
        [
            write(
                frames.Sent(
                    text_from_id(client_id), chat_id, seq, text_from_id(message_id), created_at, trace_id
                )
            )
            for client_id, seq, message_id, created_at in zip(client_ids, seqs, ids, times, strict=False)
        ]
    )


def error_frame(error: PalaverError, client_id: str, chat_id: str, trace_id: str = "") -> frames.Error:
    """A refusal, and what it refuses."""
    # Rounded up: 0 would mean that waiting does not help
    retry_after = math.ceil(error.retry_after * 1000) / 1000
    return frames.Error(
        error.kind.code, error.message, error.field, client_id, chat_id, retry_after, trace_id
    )


def read_receipt(frame: frames.SendReceipt) -> Command:
    """A receipt with sensible seqs. Raises `invalid`."""
    for field, seq in (("received_seq", frame.received_seq), ("read_seq", frame.read_seq)):
        if not 0 <= seq <= LAST_SEQ:
            raise PalaverError(INVALID, f"{field} must be a seq", field=field)
    chat_id = id_from_text(frame.chat_id, "chat_id")
    return MoveReceipt(chat_id, frame.received_seq, frame.read_seq, checked_trace(frame))


def read_resume(frame: frames.Resume) -> Command:
    """Cursors with sensible seqs. Raises `invalid`."""
    if len(frame.cursors) > MOST_CURSORS:
        raise PalaverError(INVALID, f"cursors must be at most {MOST_CURSORS}", field="cursors")
    cursors = {}
    for chat_id, seq in frame.cursors.items():
        if not 0 <= seq <= LAST_SEQ:
            raise PalaverError(INVALID, "a cursor must be a seq", field="cursors")
        cursors[id_from_text(chat_id, "cursors")] = seq
    return ResumeChats(cursors, checked_trace(frame))


def checked_trace(
    frame: frames.Send | frames.SendReceipt | frames.SendTyping | frames.Resume,
) -> TraceContext:
    """The context of the frame's traceparent, if it has one. Raises `invalid`."""
    if not frame.traceparent:
        return NO_TRACE
    trace = parse_traceparent(frame.traceparent)
    if not trace.trace_id:
        raise PalaverError(INVALID, "traceparent is not one of W3C trace context", field="traceparent")
    return trace


def field_of(text: str) -> str:
    """The field that a validation error of msgspec names: it ends in `- at `$.field``."""
    found = re.search(r"`\$\.([a-z_]+)", text) or re.search(r"field `([^`]+)`", text)
    return found[1] if found else ""
