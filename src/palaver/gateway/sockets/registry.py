"""All open sockets of a gateway: writing to them, and closing the slow and the silent."""

import asyncio
from collections import Counter
from collections.abc import Iterable

from palaver.contracts.errors import (
    PEER_SILENT,
    SESSION_REVOKED,
    SLOW_READER,
    UNAUTHENTICATED,
    ErrorKind,
    PalaverError,
)
from palaver.contracts.ids import text_from_id
from palaver.gateway import metrics
from palaver.gateway.sockets.commands import FrameCodec
from palaver.gateway.sockets.socket import Socket, SocketHandler
from palaver.gateway.upstream.pending_sends import PendingSend
from palaver.runtime.settings.gateway import GatewaySettings
from palaver.runtime.telemetry.configuration import log
from palaver.runtime.tokens import Claims, key_id_of

# Looks at each socket, in a ping's time: silent for 2, it is pinged; for 4, it is closed.
SWEEPS_A_PING = 2
# A closed socket whose peer does not answer the close is dropped after so long.
CLOSE_SECONDS = 2.0
# The close of a slow reader stands behind all that it has not read yet.
SLOW_CLOSE_SECONDS = 10.0


class SocketRegistry:
    """The sockets by number. `accepted`: messages taken from them, by generation, until they are counted."""

    def __init__(self, settings: GatewaySettings) -> None:
        self.settings = settings
        self.open: dict[int, Socket] = {}
        self.of_user: Counter[bytes] = Counter()
        self.accepted: Counter[str] = Counter()
        # Every socket adds itself to this one list
        self._to_flush: list[Socket] = []
        self._last_number = 0
        self._suspects: set[Socket] = set()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begins to look for silent peers."""
        self._tasks.append(asyncio.create_task(self._sweep(), name="sweeper"))

    async def stop(self, kind: ErrorKind) -> None:
        """Closes all."""
        for socket in self.open.values():
            socket.closed_by = kind.code
            socket.websocket.close(kind)
        deadline = asyncio.get_running_loop().time() + CLOSE_SECONDS
        while self.open and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - polled once, at the end
            await asyncio.sleep(0.01)
        for socket in list(self.open.values()):
            socket.websocket.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def create(self, handler: SocketHandler, generation: FrameCodec, token: str, claims: Claims) -> Socket:
        """A socket that is admitted. It is not open before `add`, once its handshake is done."""
        own = self.settings
        return Socket(
            handler, self._to_flush, generation, token, claims, own.frame_bytes, own.socket_queue_bytes
        )

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

    def find(self, numbers: Iterable[int]) -> list[Socket]:
        """Those of the sockets that are still open."""
        return [socket for number in numbers if (socket := self.open.get(number)) is not None]

    def flush(self) -> None:
        """Writes out what sockets have queued: all frames of a batch that are for one socket leave in one
        system call."""
        for socket in self._to_flush:
            frames, socket.outgoing = socket.outgoing, []
            # None, where a write has failed: the sockets behind that one are still in the list
            if frames:
                socket.websocket.write(frames[0] if len(frames) == 1 else b"".join(frames))
        self._to_flush.clear()

    def refuse(
        self, socket: Socket, error: PalaverError, send: PendingSend | None, chat_id: bytes = b""
    ) -> None:
        """Queues the refusal of a socket's frame."""
        metrics.REFUSED.labels(socket.generation.name, error.kind.code).inc()
        socket.write(socket.generation.refused(error, send, send.chat_id if send is not None else chat_id))

    def close(self, socket: Socket, kind: ErrorKind, seconds: float = CLOSE_SECONDS) -> None:
        """Closes a socket, and drops it after `seconds` where the peer does not answer."""
        socket.closed_by = kind.code
        log.info(
            "socket_closed",
            reason=kind.code,
            generation=socket.generation.name,
            user_id=text_from_id(socket.user_id),
        )
        socket.websocket.close(kind)
        socket.handle_close()
        asyncio.get_running_loop().call_later(seconds, socket.websocket.abort)

    def close_session(self, session_id: bytes) -> None:
        """Closes the sockets of a session that has ended."""
        for socket in [one for one in self.open.values() if one.session_id == session_id]:
            self.close(socket, SESSION_REVOKED)

    def close_key(self, key_id: str) -> None:
        """Closes the sockets that were opened with a token of a key that may have leaked."""
        # Nearly all tokens of a key have the same header
        key_of: dict[str, str] = {}
        for socket in list(self.open.values()):
            header = socket.token.partition(".")[0]
            if header not in key_of:
                key_of[header] = key_id_of(socket.token)
            if key_of[header] == key_id:
                self.close(socket, UNAUTHENTICATED)

    def suspect_slow(self, socket: Socket) -> None:
        """Too much waits for a socket, which is cut off for that (promise P9). What was written in this turn
        has not even been offered to the network yet, so look again in the next."""
        if not self._suspects:
            asyncio.get_running_loop().call_later(0, self._cut_slow)
        self._suspects.add(socket)

    def _cut_slow(self) -> None:
        suspects, self._suspects = self._suspects, set()
        for socket in suspects:
            waiting = socket.websocket.waiting()
            if waiting > self.settings.socket_queue_bytes and socket.number in self.open:
                self.close(socket, SLOW_READER, SLOW_CLOSE_SECONDS)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self.settings.ping_seconds / SWEEPS_A_PING)
            for socket in list(self.open.values()):
                self._check_silence(socket)

    def _check_silence(self, socket: Socket) -> None:
        if socket.websocket.was_active:
            socket.websocket.was_active = False
            socket.quiet_sweeps = 0
            return
        socket.quiet_sweeps += 1
        if socket.quiet_sweeps == SWEEPS_A_PING:
            socket.websocket.ping()
        elif socket.quiet_sweeps >= 2 * SWEEPS_A_PING:
            self.close(socket, PEER_SILENT)
