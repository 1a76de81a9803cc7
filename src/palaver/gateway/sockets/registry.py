"""The open WebSockets of a gateway: writing to them, and losing the slow and the silent."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

from palaver.contracts.errors import INTERNAL, PEER_SILENT, SLOW_READER, ErrorKind, PalaverError
from palaver.contracts.ids import text_from_id
from palaver.gateway import metrics
from palaver.gateway.sockets.commands import Command, Generation
from palaver.gateway.sockets.websocket import WebSocket
from palaver.gateway.upstream.pending_sends import InFlight
from palaver.runtime.settings import GatewaySettings
from palaver.runtime.telemetry.configuration import log
from palaver.runtime.tokens import Claims

if TYPE_CHECKING:
    from palaver.gateway.sockets.message_spans import ResumeSpan

# Looks at each socket, in a ping's time: silent for 2, it is pinged; for 4, it is closed.
SWEEPS_A_PING = 2
# A closed socket whose peer does not answer the close is dropped after so long.
CLOSE_SECONDS = 2.0
# Typing is told once in this time, for each of so many chats of a socket.
TYPING_SECONDS = 1.0
TYPING_CHATS = 20
# The close of a slow reader stands behind all that it has not read yet.
SLOW_CLOSE_SECONDS = 10.0

# One for all sockets that are not open yet
NO_COMMITS: Mapping[int, int] = {}


class Serves(Protocol):
    """What the sockets' server does with what sockets hear."""

    def add(self, socket: "Socket") -> None:
        """A handshake is done."""
        ...

    def remove(self, socket: "Socket") -> None:
        """A connection is gone."""
        ...

    def receive(self, socket: "Socket", command: Command) -> None:
        """Does what a frame asks. Raises `PalaverError`."""
        ...

    def note_drained(self, socket: "Socket") -> None:
        """The peer has read most of what waited."""
        ...


class Socket:
    """One open WebSocket. `resuming`: the cursors of a resume under way, moved as it is told, or None; and
    `resume_span` where it is sampled. `ahead`: chat id -> the seq up to which resumes have told what may come
    live too. `attached`: the messenger has opened it on the stream that there is now. `opened_after`: the
    newest commit of each writer when it was first opened. `closed_by`: the code of the error that it was
    closed for."""

    __slots__ = (
        "_peers",
        "_server",
        "ahead",
        "attached",
        "closed_by",
        "generation",
        "number",
        "opened_after",
        "opened_at",
        "outgoing",
        "quiet_sweeps",
        "resume_span",
        "resuming",
        "session_id",
        "token",
        "typed_at",
        "user_id",
        "wire",
    )

    def __init__(
        self, server: Serves, peers: "SocketRegistry", generation: Generation, token: str, claims: Claims
    ) -> None:
        self._server = server
        self._peers = peers
        self.generation = generation
        self.token = token
        self.user_id = claims.user_id
        self.session_id = claims.session_id
        self.number = 0
        self.opened_at = 0
        self.opened_after: Mapping[int, int] = NO_COMMITS
        self.attached = False
        self.closed_by = ""
        self.outgoing: list[bytes] = []
        self.quiet_sweeps = 0
        self.typed_at: dict[bytes, float] | None = None
        self.resuming: dict[bytes, int] | None = None
        self.resume_span: ResumeSpan | None = None
        self.ahead: dict[bytes, int] | None = None
        self.wire = WebSocket(self, peers.settings.frame_bytes)

    def opened(self) -> None:
        """See `wire.Hears`."""
        self._server.add(self)

    def hear(self, text: bytes) -> None:
        """See `wire.Hears`."""
        try:
            self._server.receive(self, self.generation.read(text))
        except PalaverError as error:
            self._peers.refuse(self, error, None)
        except Exception:
            log.exception("frame_failed", generation=self.generation.name)
            self._peers.refuse(self, PalaverError(INTERNAL), None)
        self._peers.flush()

    def drained(self) -> None:
        """See `wire.Hears`."""
        self._server.note_drained(self)

    def closed(self) -> None:
        """See `wire.Hears`."""
        self._server.remove(self)

    def may_type(self, chat_id: bytes, now: float) -> bool:
        """Whether its user's typing in a chat is to be told: once in `TYPING_SECONDS`. `now` in seconds."""
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
        """Tells the client, at the next `SocketRegistry.flush`."""
        if frames:
            if not self.outgoing:
                self._peers.to_flush.append(self)
            self.outgoing.append(frames)


class SocketRegistry:
    """All open sockets by number."""

    def __init__(self, settings: GatewaySettings) -> None:
        self.settings = settings
        self.open: dict[int, Socket] = {}
        self.of_user: Counter[bytes] = Counter()
        self.to_flush: list[Socket] = []
        # Messages that were taken from sockets, by generation, until they are counted
        self.accepted: Counter[str] = Counter()
        self._last_number = 0
        self._suspects: list[Socket] = []
        self._sweeper: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to look for silent peers."""
        self._sweeper = asyncio.create_task(self._sweep(), name="sweeper")

    async def stop(self, kind: ErrorKind) -> None:
        """Closes all."""
        for socket in self.open.values():
            socket.closed_by = kind.code
            socket.wire.close(kind)
        deadline = asyncio.get_running_loop().time() + CLOSE_SECONDS
        while self.open and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - polled once, at the end
            await asyncio.sleep(0.01)
        for socket in list(self.open.values()):
            socket.wire.abort()
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)

    def add(self, socket: Socket) -> None:
        """Gives a socket its number."""
        self._last_number += 1
        socket.number = self._last_number
        self.open[socket.number] = socket
        self.of_user[socket.user_id] += 1
        metrics.SOCKETS.labels(socket.generation.name).inc()

    def remove(self, socket: Socket) -> bool:
        """Forgets a socket. False: that was done before."""
        if self.open.pop(socket.number, None) is None:
            return False
        name = socket.generation.name
        metrics.SOCKETS.labels(name).dec()
        metrics.SOCKETS_CLOSED.labels(name, socket.closed_by or "client").inc()
        self.of_user[socket.user_id] -= 1
        if not self.of_user[socket.user_id]:
            del self.of_user[socket.user_id]
        return True

    def found(self, numbers: Iterable[int]) -> list[Socket]:
        """Those of the sockets that are still open."""
        return [socket for number in numbers if (socket := self.open.get(number)) is not None]

    def flush(self) -> None:
        """Writes out what sockets are to be told: all frames of a batch that are for one socket leave in one
        system call. A socket that reads too slowly is cut off (promise P9)."""
        sockets, self.to_flush = self.to_flush, []
        for socket in sockets:
            frames, socket.outgoing = socket.outgoing, []
            waiting = socket.wire.write(frames[0] if len(frames) == 1 else b"".join(frames))
            if waiting > self.settings.socket_queue_bytes:
                self._suspect_slow(socket)

    def refuse(
        self, socket: Socket, error: PalaverError, sent: InFlight | None, chat_id: bytes = b""
    ) -> None:
        """Tells a socket that a frame of its is refused."""
        metrics.REFUSED.labels(socket.generation.name, error.kind.code).inc()
        socket.write(socket.generation.refused(error, sent, sent.chat_id if sent is not None else chat_id))

    def close(self, socket: Socket, kind: ErrorKind, seconds: float = CLOSE_SECONDS) -> None:
        """Closes a socket, and drops it where the peer does not answer."""
        socket.closed_by = kind.code
        log.info(
            "socket_closed",
            reason=kind.code,
            generation=socket.generation.name,
            user_id=text_from_id(socket.user_id),
        )
        socket.wire.close(kind)
        socket.closed()
        asyncio.get_running_loop().call_later(seconds, socket.wire.abort)

    def _suspect_slow(self, socket: Socket) -> None:
        """Much waits for a socket. What was written in this turn has not even been offered to the network
        yet, so look again in the next."""
        if not self._suspects:
            asyncio.get_running_loop().call_later(0, self._cut_slow)
        self._suspects.append(socket)

    def _cut_slow(self) -> None:
        suspects, self._suspects = self._suspects, []
        for socket in set(suspects):
            waiting = socket.wire.waiting()
            if waiting > self.settings.socket_queue_bytes and socket.number in self.open:
                self.close(socket, SLOW_READER, SLOW_CLOSE_SECONDS)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self.settings.ping_seconds / SWEEPS_A_PING)
            for socket in list(self.open.values()):
                self._look_at(socket)

    def _look_at(self, socket: Socket) -> None:
        if socket.wire.heard:
            socket.wire.heard = False
            socket.quiet_sweeps = 0
            return
        socket.quiet_sweeps += 1
        if socket.quiet_sweeps == SWEEPS_A_PING:
            socket.wire.ping()
        elif socket.quiet_sweeps >= 2 * SWEEPS_A_PING:
            self.close(socket, PEER_SILENT)
