"""All open WebSockets of a gateway: who they are, what they ask, what they are told."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from typing import Any, Protocol

import grpc

from palaver.contracts.errors import (
    CATALOGUE,
    INTERNAL,
    NOT_FOUND,
    PEER_SILENT,
    RATE_LIMITED,
    RESTARTING,
    SESSION_REVOKED,
    SLOW_READER,
    UNAUTHENTICATED,
    ErrorKind,
    PalaverError,
    WireError,
    error_from_wire,
)
from palaver.contracts.messenger_pb2 import Delivery, Error, MessengerBatch, SentReply, SocketOpen
from palaver.gateway.commands import Answer, Command, Generation, MoveReceipt, ResumeChats, SendMessages, Told
from palaver.gateway.link import InFlight, Link
from palaver.gateway.socket_v1 import SocketsV1
from palaver.gateway.socket_v2 import SocketsV2
from palaver.gateway.wire import Upgrade, UpgradeRequest, Wire, http_answer
from palaver.runtime.settings import GatewaySettings
from palaver.runtime.telemetry import log
from palaver.runtime.tokens import Claims, TokenVerifier

# Looks at each socket, in a ping's time: silent for 2, it is pinged; for 4, it is closed.
SWEEPS_A_PING = 2
# A closed socket whose peer does not answer the close is dropped after so long.
CLOSE_SECONDS = 2.0
# The close of a slow reader stands behind all that it has not read yet.
SLOW_CLOSE_SECONDS = 10.0
TYPING_SECONDS = 1.0
# A socket with less than this waiting has taken its page of a resume.
DRAINED_BYTES = 65_536
IN_FLIGHT_BYTES = 64 * 1024 * 1024


class EndedSessions(Protocol):
    """Knows which sessions were revoked."""

    def is_ended(self, session_id: bytes) -> bool:
        """Whether a session was revoked."""
        ...


class Socket:
    """One open WebSocket. `resuming`: the cursors of a resume under way, moved as it is told, or None."""

    __slots__ = (
        "_server",
        "generation",
        "number",
        "opened_at",
        "outgoing",
        "quiet_sweeps",
        "resuming",
        "session_id",
        "token",
        "typed_at",
        "user_id",
        "wire",
    )

    def __init__(self, server: "SocketServer", generation: Generation, token: str, claims: Claims) -> None:
        self._server = server
        self.generation = generation
        self.token = token
        self.user_id = claims.user_id
        self.session_id = claims.session_id
        self.number = 0
        self.opened_at = 0
        self.outgoing: list[bytes] = []
        self.quiet_sweeps = 0
        self.typed_at = 0.0
        self.resuming: dict[bytes, int] | None = None
        self.wire = Wire(self, server.settings.frame_bytes)

    def opened(self) -> None:
        """See `wire.Hears`."""
        self._server.add(self)

    def hear(self, text: bytes) -> None:
        """See `wire.Hears`."""
        try:
            command = self.generation.read(text)
            if type(command) is SendMessages:
                self._server.send(self, command)
            else:
                self._server.receive(self, command)
        except PalaverError as error:
            self.write(self.generation.refused(error, None, b""))
        except Exception:
            log.exception("frame not handled", generation=type(self.generation).__name__)
            self.write(self.generation.refused(PalaverError(INTERNAL), None, b""))
        self._server.flush()

    def drained(self) -> None:
        """See `wire.Hears`."""
        self._server.note_drained(self)

    def closed(self) -> None:
        """See `wire.Hears`."""
        self._server.remove(self)

    def write(self, frames: bytes) -> None:
        """Tells the client, at the next `SocketServer.flush`."""
        if frames:
            if not self.outgoing:
                self._server.to_flush.append(self)
            self.outgoing.append(frames)


class SocketServer:
    """Takes upgrades, and stands between sockets and the link to the messenger."""

    def __init__(
        self,
        settings: GatewaySettings,
        verifier: TokenVerifier,
        ended: EndedSessions,
        channel: grpc.aio.Channel,
    ) -> None:
        self.settings = settings
        self._verifier = verifier
        self._ended = ended
        self._link = Link(channel, self, settings.frames_in_flight, IN_FLIGHT_BYTES)
        v1, v2 = SocketsV1(settings), SocketsV2(settings)
        # v0's `/ws` comes beside them
        self._generations: dict[str, Generation] = {"/messenger/ws": v1, "/v2/ws": v2}
        self._sockets: dict[int, Socket] = {}
        self._of_user: Counter[bytes] = Counter()
        self._last_number = 0
        self.to_flush: list[Socket] = []
        self._suspects: list[Socket] = []
        self._paused: set[int] = set()
        self._stopping = False
        self._sweeper: asyncio.Task[None] | None = None

    def protocol(self, config: Any, server_state: Any, app_state: Any) -> Upgrade:  # noqa: ARG002 - uvicorn's signature
        """What uvicorn hands upgrade requests to: give it as its `ws`."""
        return Upgrade(self._admit, self._refuse, self.settings.frame_bytes)

    async def start(self) -> None:
        """Begins to attach to the messenger, and to look for silent peers."""
        self._link.start()
        self._sweeper = asyncio.create_task(self._sweep(), name="sweeper")

    async def stop(self) -> None:
        """Lets sends be answered, then closes every socket with 1012."""
        self._stopping = True
        await self._link.stop(self.settings.drain_seconds)
        for socket in list(self._sockets.values()):
            socket.wire.close(RESTARTING)
        deadline = asyncio.get_running_loop().time() + CLOSE_SECONDS
        while self._sockets and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - polled once, at the end
            await asyncio.sleep(0.01)
        for socket in list(self._sockets.values()):
            socket.wire.abort()
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)

    def close_session(self, session_id: bytes) -> None:
        """Closes the sockets of a session that has ended."""
        for socket in [s for s in self._sockets.values() if s.session_id == session_id]:
            self._close(socket, SESSION_REVOKED)

    def flush(self) -> None:
        """Writes out what sockets are to be told: all frames of a batch that are for one socket leave in one
        system call. A socket that reads too slowly is cut off (promise P9)."""
        sockets, self.to_flush = self.to_flush, []
        for socket in sockets:
            frames, socket.outgoing = socket.outgoing, []
            waiting = socket.wire.write(frames[0] if len(frames) == 1 else b"".join(frames))
            if waiting > self.settings.socket_queue_bytes:
                self.suspect_slow(socket)

    def count(self) -> int:
        """Open sockets."""
        return len(self._sockets)

    # ---- upgrades ----

    async def _admit(self, request: UpgradeRequest) -> Wire:
        generation = self._generations.get(request.path)
        if generation is None:
            raise PalaverError(NOT_FOUND, "no socket here")
        if self._stopping:
            raise PalaverError(RESTARTING, retry_after=1.0)
        token = token_of(request)
        claims = await self._verifier.verify(token)
        if self._ended.is_ended(claims.session_id):
            raise PalaverError(SESSION_REVOKED)
        if self._of_user[claims.user_id] >= self.settings.sockets_per_user:
            raise PalaverError(RATE_LIMITED, "too many open sockets", retry_after=10.0)
        return Socket(self, generation, token, claims).wire

    def _refuse(self, request: UpgradeRequest, error: PalaverError) -> bytes:
        generation = self._generations.get(request.path) or self._generations["/v2/ws"]
        status, content_type, body = generation.refusal(error)
        return http_answer(status, body, content_type, error.retry_after)

    def add(self, socket: Socket) -> None:
        """A handshake is done."""
        self._last_number += 1
        socket.number = self._last_number
        self._sockets[socket.number] = socket
        self._of_user[socket.user_id] += 1
        if self._link.is_attached:
            self._link.batch.opens.append(opening_of(socket))
            self._link.wake()

    def remove(self, socket: Socket) -> None:
        """A connection is gone."""
        if self._sockets.pop(socket.number, None) is None:
            return
        self._paused.discard(socket.number)
        self._of_user[socket.user_id] -= 1
        if not self._of_user[socket.user_id]:
            del self._of_user[socket.user_id]
        if self._link.is_attached:
            self._link.batch.closes.append(socket.number)
            self._link.wake()

    def reopenings(self) -> Iterable[SocketOpen]:
        """See `link.Hears`."""
        for socket in self._sockets.values():
            yield opening_of(socket)

    # ---- what clients ask ----

    def send(self, socket: Socket, asked: SendMessages) -> None:
        """Passes messages on. Raises `overloaded`."""
        sent = InFlight(
            socket.number, socket.user_id, asked.chat_id, asked.client_ids, asked.texts, asked.traceparent
        )
        try:
            self._link.send(sent)
        except PalaverError as error:
            socket.write(socket.generation.refused(error, sent, sent.chat_id))

    def receive(self, socket: Socket, command: Command) -> None:
        """Does what a frame asks, that sends nothing."""
        batch = self._link.batch
        match command:
            case Answer():
                socket.write(command.frame)
                return
            case MoveReceipt():
                batch.receipts.add(
                    socket=socket.number,
                    chat_id=command.chat_id,
                    received_seq=command.received_seq,
                    read_seq=command.read_seq,
                )
            case ResumeChats():
                self._resume(socket, command.cursors)
            case SendMessages():
                self.send(socket, command)
            case _:
                self._type(socket, command.chat_id)
        self._link.wake()

    def _resume(self, socket: Socket, cursors: dict[bytes, int]) -> None:
        if socket.resuming is not None:
            raise PalaverError(RATE_LIMITED, "a resume is under way", field="cursors", retry_after=1.0)
        socket.resuming = dict(cursors)
        if socket.opened_at:
            self._ask_resume(socket)

    def _ask_resume(self, socket: Socket) -> None:
        cursors = socket.resuming
        if cursors is not None:
            self._link.batch.resumes.add(
                socket=socket.number, chat_ids=list(cursors), after_seqs=list(cursors.values())
            )
            self._link.wake()

    def _type(self, socket: Socket, chat_id: bytes) -> None:
        now = asyncio.get_running_loop().time()
        if now - socket.typed_at >= TYPING_SECONDS:
            socket.typed_at = now
            self._link.batch.typings.add(socket=socket.number, chat_id=chat_id)

    # ---- what the messenger says (link.Hears) ----

    def hear_delivery(self, delivery: Delivery, sent: InFlight | None, *, fresh_only: int) -> None:
        """See `link.Hears`."""
        told = Told(delivery, sent)
        if sent is not None:
            sender = self._sockets.get(sent.socket)
            if sender is not None:
                sender.write(sender.generation.sent(told))
        last_seq = told.first_seq + len(told.ids) - 1
        if last_seq <= fresh_only:
            return
        rendered: dict[Generation, bytes] = {}
        for number in delivery.sockets:
            socket = self._sockets.get(number)
            if socket is None or (delivery.catch_up and told.created_at < socket.opened_at):
                continue
            generation = socket.generation
            frames = rendered.get(generation)
            if frames is None:
                frames = rendered[generation] = generation.told(told)
            if socket.resuming is not None and told.chat_id in socket.resuming:
                socket.resuming[told.chat_id] = last_seq
            socket.write(frames)

    def hear_reply(self, reply: SentReply, sent: InFlight) -> None:
        """See `link.Hears`."""
        socket = self._sockets.get(sent.socket)
        if socket is None:
            return
        if reply.HasField("error"):
            error = error_from_proto(reply.error)
            socket.write(socket.generation.refused(error, sent, sent.chat_id))
        else:
            socket.write(socket.generation.stored(reply, sent))

    def hear_batch(self, batch: MessengerBatch) -> None:
        """See `link.Hears`."""
        for opened in batch.opened:
            self._hear_opened(opened.socket, opened.opened_at, opened.error)
        self._hear_members(batch)
        for refused in batch.errors:
            for socket in self._found([refused.socket]):
                error = error_from_proto(refused.error)
                socket.write(socket.generation.refused(error, None, refused.chat_id))
        for socket in self._found(batch.resumed):
            socket.resuming = None
            socket.write(socket.generation.resumed())
        self.flush()
        for socket in self._found(batch.paused):
            self._paused.add(socket.number)
            self.note_drained(socket)

    def _hear_members(self, batch: MessengerBatch) -> None:
        for receipt in batch.receipts:
            for socket in self._found(receipt.sockets):
                socket.write(socket.generation.receipt(receipt))
        for typing in batch.typings:
            for socket in self._found(typing.sockets):
                socket.write(socket.generation.typing(typing))
        for presence in batch.presences:
            for socket in self._found(presence.sockets):
                socket.write(socket.generation.presence(presence))

    def _hear_opened(self, number: int, opened_at: int, error: str) -> None:
        socket = self._sockets.get(number)
        if socket is None:
            return
        if error:
            self._close(socket, CATALOGUE.get(error, UNAUTHENTICATED))
            return
        if not socket.opened_at:
            socket.opened_at = opened_at
            socket.write(socket.generation.hello(socket.user_id, socket.session_id, opened_at))
        self._ask_resume(socket)

    def _found(self, numbers: Iterable[int]) -> list[Socket]:
        return [socket for number in numbers if (socket := self._sockets.get(number)) is not None]

    def note_drained(self, socket: Socket) -> None:
        """A socket has little waiting: if its resume waits for that, it may go on."""
        if socket.number in self._paused and socket.wire.waiting() < DRAINED_BYTES:
            self._paused.discard(socket.number)
            self._link.batch.drained.append(socket.number)
            self._link.wake()

    # ---- slow and silent peers ----

    def suspect_slow(self, socket: Socket) -> None:
        """Much waits for a socket. What was written in this turn has not even been offered to the network
        yet, so look again in the next."""
        if not self._suspects:
            asyncio.get_running_loop().call_later(0, self._cut_slow)
        self._suspects.append(socket)

    def _cut_slow(self) -> None:
        suspects, self._suspects = self._suspects, []
        for socket in set(suspects):
            waiting = socket.wire.waiting()
            if waiting > self.settings.socket_queue_bytes and socket.number in self._sockets:
                log.warning("slow reader cut off", waiting=waiting)
                self._close(socket, SLOW_READER, SLOW_CLOSE_SECONDS)

    def _close(self, socket: Socket, kind: ErrorKind, seconds: float = CLOSE_SECONDS) -> None:
        socket.wire.close(kind)
        self.remove(socket)
        asyncio.get_running_loop().call_later(seconds, socket.wire.abort)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self.settings.ping_seconds / SWEEPS_A_PING)
            for socket in list(self._sockets.values()):
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
            self._close(socket, PEER_SILENT)


def opening_of(socket: Socket) -> SocketOpen:
    """How the messenger is told of a socket."""
    return SocketOpen(
        socket=socket.number,
        token=socket.token,
        opened_at=socket.opened_at,
        implicit_receipts=socket.generation.implicit_receipts,
    )


def token_of(request: UpgradeRequest) -> str:
    """The access token of an upgrade: a header, with or without `Bearer`, or the query's `token`.

    Raises `unauthenticated`.
    """
    token = request.headers.get("authorization", "") or request.query.get("token", "")
    if token[:7].lower() == "bearer ":
        token = token[7:]
    if not token:
        raise PalaverError(UNAUTHENTICATED, "an access token is needed")
    return token.strip()


def error_from_proto(error: Error) -> PalaverError:
    """The error that the messenger meant."""
    return error_from_wire(WireError(error.code, error.message, error.field, error.retry_after))
