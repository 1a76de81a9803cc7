"""The sockets of the first microservices: a topic, an action, and JSON inside a string."""

import msgspec

from palaver.contracts.errors import INVALID, MALFORMED, PalaverError
from palaver.contracts.ids import id_from_text, new_id
from palaver.contracts.messenger_pb2 import PresenceEvent, ReceiptEvent, SentReply, TypingEvent
from palaver.gateway.sockets.commands import MESSAGE_CHARACTERS, Command, OutboundMessages
from palaver.gateway.sockets.websocket import text_frame
from palaver.gateway.upstream.pending_sends import PendingSend
from palaver.runtime.settings.gateway import GatewaySettings
from palaver.runtime.texts import check_text

TOPIC = "messenger"


class Envelope(msgspec.Struct):
    """The outer frame; the order of fields is the order that old clients get."""

    topic: str
    action: str
    payload: str


class Text(msgspec.Struct, gc=False):
    """One message of a payload. The status that a client gives is passed over: the server knows it."""

    text: str
    status: str = "created"


class Messages(msgspec.Struct):
    """The payload of `send-message`, both ways."""

    chat_id: str
    messages: list[Text]


class Failure(msgspec.Struct):
    """The payload of `error`."""

    code: int
    message: str


_read_envelope = msgspec.json.Decoder(Envelope).decode
_read_messages = msgspec.json.Decoder(Messages).decode
_encode = msgspec.json.Encoder().encode


class CodecV1:
    """v1's frames. See `commands.FrameCodec`."""

    name = "v1"
    implicit_receipts = True

    def __init__(self, settings: GatewaySettings) -> None:
        self._most_texts = settings.messages_per_request
        self._most_characters = settings.text_characters
        self._most_bytes = settings.text_bytes

    def read(self, text: bytes) -> Command:
        """See `FrameCodec.read`."""
        try:
            envelope = _read_envelope(text)
            if envelope.topic != TOPIC or envelope.action != "send-message":
                raise PalaverError(MALFORMED, "unknown topic or action", field="action")
            payload = _read_messages(envelope.payload)
            if not text.isascii():
                # What is passed over in the envelope was not decoded
                text.decode()
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise PalaverError(
                MALFORMED, f"the frame cannot be understood: {error}"[:MESSAGE_CHARACTERS]
            ) from None
        if not 0 < len(payload.messages) <= self._most_texts:
            raise PalaverError(INVALID, f"messages must be 1 to {self._most_texts}", field="messages")
        texts = [message.text for message in payload.messages]
        for words in texts:
            check_text(words, "text", self._most_characters, self._most_bytes)
        return PendingSend(id_from_text(payload.chat_id, "chat_id"), [new_id() for _ in texts], texts)

    def messages(self, messages: OutboundMessages) -> bytes:
        """See `FrameCodec.messages`. Old clients have no words for a change, and show a deleted one never."""
        if messages.changed or messages.deleted_at:
            return b""
        payload = _encode(Messages(messages.chat_text, [Text(text) for text in messages.texts]))
        return frame("send-message", payload)

    def sent(self, messages: OutboundMessages) -> bytes:  # noqa: ARG002 - the signature is FrameCodec's, here and below
        """Nothing: old clients expect no acknowledgement."""
        return b""

    def stored(self, reply: SentReply, send: PendingSend) -> bytes:  # noqa: ARG002
        """Nothing: old clients expect no acknowledgement."""
        return b""

    def refused(self, error: PalaverError, send: PendingSend | None, chat_id: bytes) -> bytes:  # noqa: ARG002
        """See `FrameCodec.refused`. Old clients pass over an action that they do not know."""
        return frame("error", _encode(Failure(0, error.message)))

    def hello(self, user_id: bytes, session_id: bytes, at: int) -> bytes:  # noqa: ARG002
        """Nothing."""
        return b""

    def receipt(self, event: ReceiptEvent) -> bytes:  # noqa: ARG002
        """Nothing."""
        return b""

    def typing(self, event: TypingEvent) -> bytes:  # noqa: ARG002
        """Nothing."""
        return b""

    def presence(self, event: PresenceEvent) -> bytes:  # noqa: ARG002
        """Nothing."""
        return b""

    def resumed(self) -> bytes:
        """Nothing."""
        return b""


def frame(action: str, payload: bytes) -> bytes:
    """A whole frame with an action and its payload."""
    return text_frame(_encode(Envelope(TOPIC, action, payload.decode())))
