"""All open WebSockets of a gateway: who they are, what they ask, what they are told."""

import asyncio
from collections.abc import Iterable
from typing import Any, Protocol

from palaver.contracts.errors import (
    CATALOGUE,
    NOT_FOUND,
    RATE_LIMITED,
    RESTARTING,
    SESSION_REVOKED,
    UNAUTHENTICATED,
    PalaverError,
)
from palaver.contracts.messenger_pb2 import (
    Delivery,
    MessengerBatch,
    SentReply,
    SocketOpen,
    SocketOpened,
)
from palaver.contracts.times import now_us
from palaver.gateway.batches import error_from_proto
from palaver.gateway.commands import (
    Answer,
    Command,
    Generation,
    MoveReceipt,
    ResumeChats,
    SendMessages,
    Told,
    Type,
)
from palaver.gateway.link import Link
from palaver.gateway.peers import Peers, Socket
from palaver.gateway.sends import InFlight
from palaver.gateway.socket_v1 import SocketsV1
from palaver.gateway.socket_v2 import SocketsV2
from palaver.gateway.wire import Upgrade, UpgradeRequest, Wire, http_answer
from palaver.runtime.settings import GatewaySettings
from palaver.runtime.tokens import TokenVerifier

# A message that is older than this comes live no more, not even after a broken stream. Microseconds.
LIVE_US = 60_000_000
# A socket with no more than this waiting has taken its page of a resume. Where no more than this waits,
# transports do not say when the peer has read on.
DRAINED_BYTES = 65_536


class EndedSessions(Protocol):
    """Knows which sessions were revoked."""

    def is_ended(self, session_id: bytes) -> bool:
        """Whether a session was revoked."""
        ...


class SocketServer:
    """Takes upgrades, and stands between sockets and the link to the messenger."""

    def __init__(
        self,
        settings: GatewaySettings,
        verifier: TokenVerifier,
        ended: EndedSessions,
        link: Link,
    ) -> None:
        self.settings = settings
        self._verifier = verifier
        self._ended = ended
        self._link = link
        v1, v2 = SocketsV1(settings), SocketsV2(settings)
        # v0's `/ws` comes beside them
        self._generations: dict[str, Generation] = {"/messenger/ws": v1, "/v2/ws": v2}
        self._peers = Peers(settings)
        self._paused: set[int] = set()
        self._stopping = False

    def protocol(self, config: Any, server_state: Any, app_state: Any) -> Upgrade:  # noqa: ARG002 - uvicorn's signature
        """What uvicorn hands upgrade requests to: give it as its `ws`."""
        return Upgrade(self._admit, self._refuse, self.settings.frame_bytes)

    async def start(self) -> None:
        """Begins to attach to the messenger, and to look for silent peers."""
        self._link.start(self)
        self._peers.start()

    async def stop(self) -> None:
        """Reads no more, lets sends be answered, then closes every socket with 1012."""
        self._stopping = True
        for socket in self._peers.open.values():
            socket.wire.pause_reading()
        await self._link.settle(self.settings.drain_seconds)
        await self._peers.stop(RESTARTING)

    def close_session(self, session_id: bytes) -> None:
        """Closes the sockets of a session that has ended."""
        for socket in [s for s in self._peers.open.values() if s.session_id == session_id]:
            self._peers.close(socket, SESSION_REVOKED)

    def count(self) -> int:
        """Open sockets."""
        return len(self._peers.open)

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
        if self._peers.of_user[claims.user_id] >= self.settings.sockets_per_user:
            raise PalaverError(RATE_LIMITED, "too many open sockets", retry_after=10.0)
        return Socket(self, self._peers, generation, token, claims).wire

    def _refuse(self, request: UpgradeRequest, error: PalaverError) -> bytes:
        generation = self._generations.get(request.path) or self._generations["/v2/ws"]
        status, content_type, body = generation.refusal(error)
        return http_answer(status, body, content_type, error.retry_after)

    def add(self, socket: Socket) -> None:
        """A handshake is done."""
        self._peers.add(socket)
        if self._ended.is_ended(socket.session_id):
            # Since it was admitted; whoever closes a session's sockets has not seen this one
            self._peers.close(socket, SESSION_REVOKED)
            return
        if self._link.is_attached:
            self._link.batch.opens.append(opening_of(socket))
            self._link.wake()

    def remove(self, socket: Socket) -> None:
        """A connection is gone."""
        if not self._peers.remove(socket):
            return
        self._paused.discard(socket.number)
        if self._link.is_attached:
            self._link.batch.closes.append(socket.number)
            self._link.wake()

    def reopenings(self) -> Iterable[SocketOpen]:
        """See `link.Hears`."""
        self._paused.clear()
        for socket in self._peers.open.values():
            socket.attached = False
            yield opening_of(socket)

    # ---- what clients ask ----

    def _send(self, socket: Socket, asked: SendMessages) -> None:
        sent = InFlight(
            socket.number,
            socket.user_id,
            asked.chat_id,
            asked.client_ids,
            asked.texts,
            asked.traceparent,
            socket.token,
        )
        try:
            self._link.send(sent)
        except PalaverError as error:
            socket.write(socket.generation.refused(error, sent, sent.chat_id))

    def receive(self, socket: Socket, command: Command) -> None:
        """See `peers.Serves`."""
        if type(command) is SendMessages:
            self._send(socket, command)
            return
        match command:
            case Answer():
                socket.write(command.frame)
                return
            case MoveReceipt():
                self._link.move_receipt(
                    socket.number, socket.token, command.chat_id, command.received_seq, command.read_seq
                )
            case ResumeChats():
                self._resume(socket, command.cursors)
            case Type():
                self._type(socket, command.chat_id)
        self._link.wake()

    def _resume(self, socket: Socket, cursors: dict[bytes, int]) -> None:
        if socket.resuming is not None:
            raise PalaverError(RATE_LIMITED, "a resume is under way", field="cursors", retry_after=1.0)
        socket.resuming = dict(cursors)
        # Otherwise it is asked for when the messenger has opened the socket, and not before that too
        if socket.attached:
            self._ask_resume(socket)

    def _ask_resume(self, socket: Socket) -> None:
        cursors = socket.resuming
        if cursors is not None:
            self._link.batch.resumes.add(
                socket=socket.number, chat_ids=list(cursors), after_seqs=list(cursors.values())
            )
            self._link.wake()

    def _type(self, socket: Socket, chat_id: bytes) -> None:
        if socket.may_type(chat_id, asyncio.get_running_loop().time()):
            self._link.batch.typings.add(socket=socket.number, chat_id=chat_id)

    # ---- what the messenger says (link.Hears) ----

    def hear_delivery(self, delivery: Delivery, sent: InFlight | None, *, fresh_only: int) -> None:
        """See `link.Hears`."""
        told = Told(delivery, sent)
        if sent is not None:
            sender = self._peers.open.get(sent.socket)
            if sender is not None:
                sender.write(sender.generation.sent(told))
                is_due(sender, told)
        last_seq = told.first_seq + len(told.ids) - 1
        if last_seq <= fresh_only:
            return
        rendered: dict[Generation, bytes] = {}
        for number in delivery.sockets:
            socket = self._peers.open.get(number)
            if socket is None or (delivery.catch_up and told.created_at < socket.opened_at):
                continue
            generation = socket.generation
            frames = rendered.get(generation)
            if frames is None:
                frames = rendered[generation] = generation.told(told)
            if is_due(socket, told, resumed=delivery.resumed):
                socket.write(frames)

    def hear_reply(self, reply: SentReply, sent: InFlight) -> None:
        """See `link.Hears`."""
        socket = self._peers.open.get(sent.socket)
        if socket is None:
            return
        if reply.HasField("error"):
            error = error_from_proto(reply.error)
            socket.write(socket.generation.refused(error, sent, sent.chat_id))
        else:
            socket.write(socket.generation.stored(reply, sent))

    def hear_opened(self, opened: SocketOpened) -> None:
        """See `link.Hears`."""
        socket = self._peers.open.get(opened.socket)
        if socket is None:
            return
        if opened.error:
            self._peers.close(socket, CATALOGUE.get(opened.error, UNAUTHENTICATED))
            return
        if not socket.opened_at:
            socket.opened_at = opened.opened_at
            socket.write(socket.generation.hello(socket.user_id, socket.session_id, opened.opened_at))
        socket.attached = True
        self._ask_resume(socket)

    def hear_batch(self, batch: MessengerBatch) -> None:
        """See `link.Hears`."""
        self._hear_members(batch)
        for refused in batch.errors:
            for socket in self._peers.found([refused.socket]):
                error = error_from_proto(refused.error)
                if socket.resuming is not None:
                    # No page of this chat comes: nothing live may wait for one
                    socket.resuming.pop(refused.chat_id, None)
                socket.write(socket.generation.refused(error, None, refused.chat_id))
        for socket in self._peers.found(batch.resumed):
            socket.resuming = None
            socket.write(socket.generation.resumed())
        self._peers.flush()
        for socket in self._peers.found(batch.paused):
            self._paused.add(socket.number)
            self.note_drained(socket)

    def _hear_members(self, batch: MessengerBatch) -> None:
        for receipt in batch.receipts:
            for socket in self._peers.found(receipt.sockets):
                socket.write(socket.generation.receipt(receipt))
        for typing in batch.typings:
            for socket in self._peers.found(typing.sockets):
                socket.write(socket.generation.typing(typing))
        for presence in batch.presences:
            for socket in self._peers.found(presence.sockets):
                socket.write(socket.generation.presence(presence))

    def note_drained(self, socket: Socket) -> None:
        """A socket has little waiting: if its resume waits for that, it may go on."""
        if socket.number in self._paused and socket.wire.waiting() <= DRAINED_BYTES:
            self._paused.discard(socket.number)
            self._link.batch.drained.append(socket.number)
            self._link.wake()


def is_due(socket: Socket, told: Told, *, resumed: bool = False) -> bool:
    """Whether a socket is to be told now. Moves the cursor of a resume under way, where it is.

    Until the messenger has heard of a resume it goes on to tell live messages. Those behind a hole are left
    out, because the resume tells them after what fills the hole; and what the resume tells again of those
    without one is left out then. So each comes once, and in order, from the moment the client asked.
    """
    if told.changed:
        return True
    if resumed and told.created_at > now_us() - LIVE_US:
        socket.ahead = socket.ahead or {}
        socket.ahead[told.chat_id] = told.first_seq
    elif not resumed and socket.ahead is not None and is_behind(socket.ahead, told):
        return False
    cursors = socket.resuming
    if cursors is None or (cursor := cursors.get(told.chat_id)) is None:
        return True
    if told.first_seq <= cursor or (told.first_seq > cursor + 1 and not resumed):
        return False
    cursors[told.chat_id] = told.first_seq + len(told.ids) - 1
    return True


def is_behind(ahead: dict[bytes, int], told: Told) -> bool:
    """Whether a resume has told a live message before. The messenger knows, but not on its next stream."""
    seq = ahead.get(told.chat_id)
    if seq is None:
        return False
    if told.first_seq <= seq:
        return True
    # What comes live has come beyond it
    del ahead[told.chat_id]
    return False


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
