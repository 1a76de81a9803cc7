"""All open WebSockets of a gateway: what they ask."""

import asyncio
import time
from typing import Any

from palaver.contracts.errors import RATE_LIMITED, RESTARTING, SESSION_REVOKED, PalaverError
from palaver.gateway.generations.v1.socket import SocketsV1
from palaver.gateway.generations.v2.socket import SocketsV2
from palaver.gateway.sockets.commands import (
    Answer,
    Command,
    Generation,
    MoveReceipt,
    ResumeChats,
    SendMessages,
    Type,
)
from palaver.gateway.sockets.fan_out import FanOut, opening_of
from palaver.gateway.sockets.handshake import EndedSessions, Handshakes
from palaver.gateway.sockets.message_spans import ResumeSpan, begin_message, record_frame, record_received
from palaver.gateway.sockets.registry import Socket, SocketRegistry
from palaver.gateway.sockets.websocket import UpgradeProtocol
from palaver.gateway.upstream.pending_sends import InFlight
from palaver.gateway.upstream.stream import MessengerStream
from palaver.runtime.settings import GatewaySettings
from palaver.runtime.telemetry.tracing import error_code
from palaver.runtime.tokens import TokenVerifier


class SocketServer:
    """Takes upgrades, and takes what sockets ask to the link to the messenger."""

    def __init__(
        self,
        settings: GatewaySettings,
        verifier: TokenVerifier,
        ended: EndedSessions,
        link: MessengerStream,
        *,
        access_log: bool = True,
    ) -> None:
        self.settings = settings
        self._ended = ended
        self._link = link
        v1, v2 = SocketsV1(settings), SocketsV2(settings)
        # v0's `/ws` comes beside them
        generations: dict[str, Generation] = {"/messenger/ws": v1, "/v2/ws": v2}
        self._peers = SocketRegistry(settings)
        self._telling = FanOut(self._peers, link)
        self.upgrades = Handshakes(generations, verifier, ended, self._peers, self, access_log=access_log)

    def protocol(self, config: Any, server_state: Any, app_state: Any) -> UpgradeProtocol:  # noqa: ARG002 - uvicorn's signature
        """What uvicorn hands upgrade requests to: give it as its `ws`."""
        return UpgradeProtocol(self.upgrades.decide, self.settings.frame_bytes)

    async def start(self) -> None:
        """Begins to attach to the messenger, and to look for silent peers."""
        self._link.start(self._telling)
        self._peers.start()

    async def stop(self) -> None:
        """Reads no more, lets sends be answered, then closes every socket with 1012."""
        self.upgrades.is_open = False
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

    # ---- what sockets say (peers.Serves) ----

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
        self._telling.forget(socket)
        if self._link.is_attached:
            self._link.batch.closes.append(socket.number)
            self._link.wake()

    def note_drained(self, socket: Socket) -> None:
        """The peer has read most of what waited."""
        self._telling.note_drained(socket)

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
                record_frame("receive receipt", command.trace, socket, command.chat_id)
                self._link.move_receipt(
                    socket.number, socket.token, command.chat_id, command.received_seq, command.read_seq
                )
            case ResumeChats():
                self._resume(socket, command)
            case Type():
                self._type(socket, command)
        self._link.wake()

    def _send(self, socket: Socket, asked: SendMessages) -> None:
        trace, parent_id = begin_message(asked.trace)
        sent = InFlight(
            socket.number,
            socket.user_id,
            asked.chat_id,
            asked.client_ids,
            asked.texts,
            trace,
            socket.token,
            parent_id,
            time.time_ns(),
        )
        try:
            self._link.send(sent)
        except PalaverError as error:
            self._peers.refuse(socket, error, sent)
            record_received(sent, socket, None, error_code(error))
            return
        self._peers.accepted[socket.generation.name] += len(sent.texts)

    def _resume(self, socket: Socket, asked: ResumeChats) -> None:
        if socket.resuming is not None:
            raise PalaverError(RATE_LIMITED, "a resume is under way", field="cursors", retry_after=1.0)
        socket.resuming = dict(asked.cursors)
        socket.resume_span = ResumeSpan.begin(asked.trace, socket)
        # Otherwise it is asked for when the messenger has opened the socket, and not before that too
        if socket.attached:
            self._telling.ask_resume(socket)

    def _type(self, socket: Socket, asked: Type) -> None:
        if socket.may_type(asked.chat_id, asyncio.get_running_loop().time()):
            record_frame("receive typing", asked.trace, socket, asked.chat_id)
            self._link.batch.typings.add(socket=socket.number, chat_id=asked.chat_id)
