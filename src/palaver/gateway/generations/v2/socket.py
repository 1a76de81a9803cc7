"""v2's sockets: flat JSON objects with `type`, as contracts/frames.py has them."""

import math
import re
from functools import lru_cache

import msgspec

from palaver.contracts import frames
from palaver.contracts.errors import INVALID, MALFORMED, PalaverError
from palaver.contracts.ids import id_from_text, text_from_id
from palaver.contracts.messenger_pb2 import PresenceEvent, ReceiptEvent, SentReply, TypingEvent
from palaver.contracts.times import now_us, rfc3339
from palaver.gateway.sockets.commands import (
    Answer,
    Command,
    MoveReceipt,
    OutboundMessages,
    ResumeChats,
    SendMessages,
    Type,
)
from palaver.gateway.sockets.websocket import text_frame
from palaver.gateway.upstream.pending_sends import InFlight
from palaver.runtime.settings import GatewaySettings
from palaver.runtime.telemetry.trace_context import NO_TRACE, TraceContext, parse_traceparent
from palaver.runtime.texts import check_text

MOST_CURSORS = 1_000
LARGEST_SEQ = 2**62

_read = msgspec.json.Decoder(frames.ClientFrame).decode
_encode = msgspec.json.Encoder().encode
# Messages that were committed together have one time, and each is told twice: to others, and to its sender
_committed_at = lru_cache(64)(rfc3339)


class SocketsV2:
    """v2's frames. See `commands.Generation`."""

    name = "v2"
    implicit_receipts = False

    def __init__(self, settings: GatewaySettings) -> None:
        self._most_characters = settings.text_characters

    def read(self, text: bytes) -> Command:
        """See `Generation.read`."""
        try:
            asked = _read(text)
        except msgspec.ValidationError as error:
            raise PalaverError(INVALID, str(error), field=field_of(str(error))) from None
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise PalaverError(MALFORMED, f"the frame cannot be understood: {error}") from None
        if isinstance(asked, frames.Send):
            try:
                return self._read_send(asked)
            except PalaverError as error:
                # By its client id the client knows which of its sends it was
                return Answer(write(error_frame(error, asked.client_id, asked.chat_id)))
        if isinstance(asked, frames.SendReceipt):
            return read_receipt(asked)
        if isinstance(asked, frames.SendTyping):
            return Type(id_from_text(asked.chat_id, "chat_id"), checked_trace(asked))
        if isinstance(asked, frames.Resume):
            return read_resume(asked)
        return Answer(write(frames.Pong(asked.id)))

    def _read_send(self, asked: frames.Send) -> Command:
        check_text(asked.text, "text", self._most_characters)
        return SendMessages(
            id_from_text(asked.chat_id, "chat_id"),
            [id_from_text(asked.client_id, "client_id")],
            [asked.text],
            checked_trace(asked),
        )

    def told(self, told: OutboundMessages) -> bytes:
        """See `Generation.told`."""
        sender = text_from_id(told.sender_id)
        created_at = _committed_at(told.created_at)
        edited_at = rfc3339(told.edited_at) if told.edited_at else None
        deleted_at = rfc3339(told.deleted_at) if told.deleted_at else None
        return b"".join(
            [
                write(
                    frames.Message(
                        told.chat_text,
                        seq,
                        text_from_id(message_id),
                        sender,
                        text_from_id(client_id),
                        text,
                        created_at,
                        edited_at,
                        deleted_at,
                    )
                )
                for seq, (message_id, client_id, text) in enumerate(
                    zip(told.ids, told.client_ids, told.texts, strict=True), told.first_seq
                )
            ]
        )

    def sent(self, told: OutboundMessages) -> bytes:
        """See `Generation.sent`."""
        created_at = _committed_at(told.created_at)
        return b"".join(
            [
                write(
                    frames.Sent(
                        text_from_id(client_id),
                        told.chat_text,
                        seq,
                        text_from_id(message_id),
                        created_at,
                        told.trace.trace_id,
                    )
                )
                for seq, (message_id, client_id) in enumerate(
                    zip(told.ids, told.client_ids, strict=True), told.first_seq
                )
            ]
        )

    def stored(self, reply: SentReply, sent: InFlight) -> bytes:
        """See `Generation.stored`."""
        chat_id = text_from_id(sent.chat_id)
        return b"".join(
            [
                write(
                    frames.Sent(
                        text_from_id(client_id),
                        chat_id,
                        seq,
                        text_from_id(message_id),
                        rfc3339(created_at),
                        sent.trace.trace_id,
                    )
                )
                for client_id, seq, message_id, created_at in zip(
                    sent.client_ids, reply.seqs, reply.ids, reply.created_at, strict=True
                )
            ]
        )

    def refused(self, error: PalaverError, sent: InFlight | None, chat_id: bytes) -> bytes:
        """See `Generation.refused`."""
        client_id = text_from_id(sent.client_ids[0]) if sent else ""
        trace_id = sent.trace.trace_id if sent else ""
        return write(error_frame(error, client_id, text_from_id(chat_id) if chat_id else "", trace_id))

    def hello(self, user_id: bytes, session_id: bytes, at: int) -> bytes:
        """See `Generation.hello`."""
        return write(frames.Hello(text_from_id(user_id), text_from_id(session_id), rfc3339(at)))

    def receipt(self, event: ReceiptEvent) -> bytes:
        """See `Generation.receipt`."""
        return write(
            frames.Receipt(
                text_from_id(event.chat_id), text_from_id(event.user_id), event.received_seq, event.read_seq
            )
        )

    def typing(self, event: TypingEvent) -> bytes:
        """See `Generation.typing`."""
        return write(frames.Typing(text_from_id(event.chat_id), text_from_id(event.user_id)))

    def presence(self, event: PresenceEvent) -> bytes:
        """See `Generation.presence`."""
        last_seen_at = None if event.online else rfc3339(event.last_seen_at or now_us())
        return write(frames.Presence(text_from_id(event.user_id), event.online, last_seen_at))

    def resumed(self) -> bytes:
        """See `Generation.resumed`."""
        return write(frames.Resumed())

    def refusal(self, error: PalaverError) -> tuple[int, str, bytes]:
        """See `Generation.refusal` (RFC 9457)."""
        kind = error.kind
        body = {
            "type": f"urn:palaver:error:{kind.code}",
            "title": kind.title,
            "status": kind.http,
            "detail": error.message,
            "code": kind.code,
        }
        return kind.http, "application/problem+json", _encode(body)


def write(asked: frames.FromServer) -> bytes:
    """A whole frame."""
    return text_frame(_encode(asked))


def error_frame(error: PalaverError, client_id: str, chat_id: str, trace_id: str = "") -> frames.Error:
    """A refusal, and what it refuses."""
    # Rounded up: 0 would say that waiting does not help
    retry_after = math.ceil(error.retry_after * 1000) / 1000
    return frames.Error(
        error.kind.code, error.message, error.field, client_id, chat_id, retry_after, trace_id
    )


def read_receipt(asked: frames.SendReceipt) -> Command:
    """A receipt with sensible seqs. Raises `invalid`."""
    for field, seq in (("received_seq", asked.received_seq), ("read_seq", asked.read_seq)):
        if not 0 <= seq < LARGEST_SEQ:
            raise PalaverError(INVALID, f"{field} must be a seq", field=field)
    chat_id = id_from_text(asked.chat_id, "chat_id")
    return MoveReceipt(chat_id, asked.received_seq, asked.read_seq, checked_trace(asked))


def read_resume(asked: frames.Resume) -> Command:
    """Cursors with sensible seqs. Raises `invalid`."""
    if len(asked.cursors) > MOST_CURSORS:
        raise PalaverError(INVALID, f"cursors must be at most {MOST_CURSORS}", field="cursors")
    cursors = {}
    for chat_id, seq in asked.cursors.items():
        if not 0 <= seq < LARGEST_SEQ:
            raise PalaverError(INVALID, "a cursor must be a seq", field="cursors")
        cursors[id_from_text(chat_id, "cursors")] = seq
    return ResumeChats(cursors, checked_trace(asked))


def checked_trace(
    asked: frames.Send | frames.SendReceipt | frames.SendTyping | frames.Resume,
) -> TraceContext:
    """The context of the frame's traceparent, if it has one. Raises `invalid`."""
    if not asked.traceparent:
        return NO_TRACE
    trace = parse_traceparent(asked.traceparent)
    if not trace.trace_id:
        raise PalaverError(INVALID, "traceparent is not one of W3C trace context", field="traceparent")
    return trace


def field_of(text: str) -> str:
    """The field that a validation error of msgspec speaks of: it ends in `- at `$.field``."""
    found = re.search(r"`\$\.([a-z_]+)", text) or re.search(r"field `([^`]+)`", text)
    return found[1] if found else ""
