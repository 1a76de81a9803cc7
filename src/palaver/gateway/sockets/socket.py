"""One open WebSocket of a session."""

from collections.abc import Mapping
from typing import Protocol

from palaver.gateway.sockets.commands import FrameCodec
from palaver.gateway.sockets.resume_span import ResumeSpan
from palaver.gateway.sockets.websocket import WebSocket
from palaver.runtime.tokens import Claims

# Typing is shown to others once in this time, for each of so many chats of a socket.
TYPING_SECONDS = 1.0
TYPING_CHATS = 20
# One for all sockets that the messenger has not opened yet
NO_COMMITS: Mapping[int, int] = {}


class SocketHandler(Protocol):
    """What the gateway does with what happens to a socket."""

    def handle_open(self, socket: "Socket") -> None:
        """The handshake is done."""
        ...

    def handle_frame(self, socket: "Socket", text: bytes) -> None:
        """A whole message came, which may be no UTF-8."""
        ...

    def handle_slow(self, socket: "Socket") -> None:
        """More waits for the client than may."""
        ...

    def handle_drained(self, socket: "Socket") -> None:
        """The client has read most of what waited."""
        ...

    def handle_close(self, socket: "Socket") -> None:
        """The connection is gone. May come twice."""
        ...


class Socket:
    """A socket, from its handshake to its end. It is a `WebSocketHandler`.

    `opened_at`, `proof`: when the messenger opened it, and its proof of that, for the next stream.
    `opened_after`: the newest commit of each writer at its first opening. `attached`: the messenger has it
    open on the stream that stands. `resuming`: the cursors of a resume under way, moved as it is delivered,
    or None; `resume_span`: where that is sampled. `ahead`: see `resume_filter`. `closed_by`: the code of the
    error that it was closed for.
    """

    __slots__ = (
        "_handler",
        "_to_flush",
        "ahead",
        "attached",
        "closed_by",
        "generation",
        "number",
        "opened_after",
        "opened_at",
        "outgoing",
        "proof",
        "quiet_sweeps",
        "resume_span",
        "resuming",
        "session_id",
        "token",
        "typed_at",
        "user_id",
        "websocket",
    )

    def __init__(
        self,
        handler: SocketHandler,
        to_flush: list["Socket"],
        generation: FrameCodec,
        token: str,
        claims: Claims,
        most_bytes: int,
        most_waiting: int,
    ) -> None:
        """`to_flush`: gets the socket when frames wait in it. For the others see `WebSocket`."""
        self._handler = handler
        self._to_flush = to_flush
        self.generation = generation
        self.token = token
        self.user_id = claims.user_id
        self.session_id = claims.session_id
        self.number = 0
        self.opened_at = 0
        self.proof = b""
        self.opened_after = NO_COMMITS
        self.attached = False
        self.closed_by = ""
        self.outgoing: list[bytes] = []
        self.quiet_sweeps = 0
        self.typed_at: dict[bytes, float] | None = None
        self.resuming: dict[bytes, int] | None = None
        self.resume_span: ResumeSpan | None = None
        self.ahead: dict[bytes, int] | None = None
        self.websocket = WebSocket(self, most_bytes, most_waiting)

    def handle_open(self) -> None:
        """See `WebSocketHandler`."""
        self._handler.handle_open(self)

    def handle_message(self, text: bytes) -> None:
        """See `WebSocketHandler`."""
        self._handler.handle_frame(self, text)

    def handle_slow(self) -> None:
        """See `WebSocketHandler`."""
        self._handler.handle_slow(self)

    def handle_drained(self) -> None:
        """See `WebSocketHandler`."""
        self._handler.handle_drained(self)

    def handle_close(self) -> None:
        """See `WebSocketHandler`."""
        self._handler.handle_close(self)

    def may_type(self, chat_id: bytes, now: float) -> bool:
        """Whether typing in a chat is shown: once in `TYPING_SECONDS`. `now`: seconds of the event loop."""
        typed_at = self.typed_at
        if typed_at is None:
            typed_at = self.typed_at = {}
        if now - typed_at.get(chat_id, -TYPING_SECONDS) < TYPING_SECONDS:
            return False
        if len(typed_at) >= TYPING_CHATS:
            lately = {chat: at for chat, at in typed_at.items() if now - at < TYPING_SECONDS}
            typed_at = self.typed_at = lately
            if len(lately) >= TYPING_CHATS:
                # Nobody types in so many chats at once
                return False
        typed_at[chat_id] = now
        return True

    def write(self, frames: bytes) -> None:
        """Queues frames for the next `SocketRegistry.flush`."""
        if frames:
            if not self.outgoing:
                self._to_flush.append(self)
            self.outgoing.append(frames)
