"""The v2 socket protocol: flat JSON objects with `type`, typed for both ends."""

import msgspec

# ---- client to server ----


class FromClient(msgspec.Struct, tag_field="type", forbid_unknown_fields=True, omit_defaults=True):
    """A frame that a client sends. An unknown field is refused, so that a misspelt one is not lost."""


class Send(FromClient, tag="send"):
    """Send one message. Repeating it with the same `client_id` writes nothing and answers the same."""

    chat_id: str
    client_id: str
    text: str
    traceparent: str = ""


class SendReceipt(FromClient, tag="receipt"):
    """Say how far the user has received or read a chat. A seq that is behind the known one does nothing."""

    chat_id: str
    received_seq: int = 0
    read_seq: int = 0
    traceparent: str = ""


class SendTyping(FromClient, tag="typing"):
    """Say that the user is typing; good for 5 seconds."""

    chat_id: str
    traceparent: str = ""


class Resume(FromClient, tag="resume"):
    """Ask for all that came after the last seq seen, for each chat; at most 1,000 chats a frame."""

    cursors: dict[str, int]
    traceparent: str = ""


class Ping(FromClient, tag="ping"):
    """Ask for a `pong`; for clients that can't send protocol pings."""

    id: str = ""


# ---- server to client ----


class FromServer(msgspec.Struct, tag_field="type", omit_defaults=True):
    """A frame that the server sends. Clients pass over unknown fields and types: they may be newer."""


class Hello(FromServer, tag="hello"):
    """The socket is attached: from now on it is told of everything. `resume` now."""

    user_id: str
    session_id: str
    server_time: str


class Sent(FromServer, tag="sent"):
    """The message is on disk, at this place of the chat. Operators find what happened by `trace_id`."""

    client_id: str
    chat_id: str
    seq: int
    id: str
    created_at: str
    trace_id: str = ""


class Message(FromServer, tag="message"):
    """A message that the socket's session did not send itself; again, with the same seq, where one was
    edited (`edited_at`) or deleted (`deleted_at`, and an empty text)."""

    chat_id: str
    seq: int
    id: str
    sender_id: str
    client_id: str
    text: str
    created_at: str
    edited_at: str | None = None
    deleted_at: str | None = None


class Receipt(FromServer, tag="receipt"):
    """How far a member has received and read a chat."""

    chat_id: str
    user_id: str
    received_seq: int
    read_seq: int


class Typing(FromServer, tag="typing"):
    """A member is typing; show it for 5 seconds."""

    chat_id: str
    user_id: str


class Presence(FromServer, tag="presence"):
    """Somebody with whom the user has a direct chat came or went."""

    user_id: str
    online: bool
    last_seen_at: str | None = None


class Resumed(FromServer, tag="resumed"):
    """Everything that was missed has been told."""


class Error(FromServer, tag="error"):
    """A frame was refused; the socket stays open. `code` is of the error catalogue; `client_id` and
    `chat_id` name the refused `send`, `retry_after` is in seconds."""

    code: str
    message: str
    field: str = ""
    client_id: str = ""
    chat_id: str = ""
    retry_after: float = 0.0
    trace_id: str = ""


class Pong(FromServer, tag="pong"):
    """The answer to a `ping` with the same `id`."""

    id: str = ""


ClientFrame = Send | SendReceipt | SendTyping | Resume | Ping
ServerFrame = Hello | Sent | Message | Receipt | Typing | Presence | Resumed | Error | Pong
