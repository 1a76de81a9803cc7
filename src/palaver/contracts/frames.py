"""The v2 socket protocol: flat JSON objects with `type`, typed for both ends."""

import msgspec

# ---- client to server ----


class FromClient(msgspec.Struct, tag_field="type", forbid_unknown_fields=True, omit_defaults=True):
    """A frame that a client sends. An unknown field is refused, so that a misspelt one is not ignored."""


class Send(FromClient, tag="send"):
    """Sends one message. The same `client_id` again writes nothing and gets the same answer."""

    chat_id: str
    client_id: str
    text: str
    traceparent: str = ""


class SendReceipt(FromClient, tag="receipt"):
    """Moves the user's receipt of a chat. A seq that is behind the known one does nothing."""

    chat_id: str
    received_seq: int = 0
    read_seq: int = 0
    traceparent: str = ""


class SendTyping(FromClient, tag="typing"):
    """Shows that the user is typing; valid for 5 seconds."""

    chat_id: str
    traceparent: str = ""


class Resume(FromClient, tag="resume"):
    """Requests all messages after the last seq seen, for each chat; at most 1,000 chats a frame."""

    cursors: dict[str, int]
    traceparent: str = ""


class Ping(FromClient, tag="ping"):
    """Requests a `pong`, for clients that cannot send protocol pings."""

    id: str = ""


# ---- server to client ----


class FromServer(msgspec.Struct, tag_field="type", omit_defaults=True):
    """A frame that the server sends. Clients ignore unknown fields and types: the server may be newer."""


class Hello(FromServer, tag="hello"):
    """The socket is attached: from now on it receives everything. Send `resume` now."""

    user_id: str
    session_id: str
    server_time: str


class Sent(FromServer, tag="sent"):
    """The message is on disk, with this seq. Operators find its trace by `trace_id`."""

    client_id: str
    chat_id: str
    seq: int
    id: str
    created_at: str
    trace_id: str = ""


class Message(FromServer, tag="message"):
    """A message that this socket did not send itself. With `edited_at` or `deleted_at` (and an empty text)
    and a seq that was delivered before: it changed."""

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
    """A user with whom this user has a direct chat went online or offline."""

    user_id: str
    online: bool
    last_seen_at: str | None = None


class Resumed(FromServer, tag="resumed"):
    """All missed messages have been delivered."""


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
