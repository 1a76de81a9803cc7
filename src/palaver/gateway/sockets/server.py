"""The WebSocket server of a gateway: what clients' frames lead to."""

import asyncio
import time
from collections import Counter
from typing import Any

from palaver.contracts.errors import (
    INTERNAL,
    MALFORMED,
    RATE_LIMITED,
    RESTARTING,
    SESSION_REVOKED,
    UNAUTHENTICATED,
    PalaverError,
)
from palaver.gateway.generations.registry import GenerationRegistry
from palaver.gateway.rates import GatewayRates
from palaver.gateway.sockets.commands import Answer, Command, MoveReceipt, ResumeChats, Type
from palaver.gateway.sockets.fan_out import FanOut, opening_of
from palaver.gateway.sockets.handshake import EndedSessions, Handshakes
from palaver.gateway.sockets.message_spans import begin_message, begin_resume, record_frame, record_received
from palaver.gateway.sockets.registry import SocketRegistry
from palaver.gateway.sockets.socket import Socket
from palaver.gateway.sockets.upgrade import UpgradeProtocol
from palaver.gateway.upstream.outbox import Outbox
from palaver.gateway.upstream.pending_sends import PendingSend
from palaver.gateway.upstream.stream import MessengerStream
from palaver.runtime.settings.gateway import GatewaySettings
from palaver.runtime.telemetry.configuration import log
from palaver.runtime.telemetry.tracing import error_code
from palaver.runtime.tokens import TokenVerifier

# Refusals and pongs that one socket gets in one turn of the event loop. One read brings many thousand small
# frames, and all others wait while they are answered
MOST_ANSWERS = 200


class SocketServer:
    """Takes upgrades, and takes frames to the messenger. It is the `SocketHandler` of all sockets."""

    def __init__(
        self,
        settings: GatewaySettings,
        generations: GenerationRegistry,
        verifier: TokenVerifier,
        ended: EndedSessions,
        registry: SocketRegistry,
        rates: GatewayRates,
        outbox: Outbox,
        fan_out: FanOut,
        stream: MessengerStream,
        *,
        access_log: bool = True,
    ) -> None:
        self.settings = settings
        self._ended = ended
        self._verifier = verifier
        self._registry = registry
        self._outbox = outbox
        self._fan_out = fan_out
        self._stream = stream
        self._answers: Counter[Socket] = Counter()
        self.upgrades = Handshakes(generations, verifier, ended, registry, rates, self, access_log=access_log)

    def protocol(self, config: Any, server_state: Any, app_state: Any) -> UpgradeProtocol:  # noqa: ARG002 - uvicorn's signature
        """What uvicorn hands upgrade requests to: give it as its `ws`."""
        return UpgradeProtocol(self.upgrades.decide, self.settings.frame_bytes)

    async def start(self) -> None:
        """Begins to attach to the messenger, and to look for silent peers."""
        self._stream.start()
        self._registry.start()

    async def stop(self) -> None:
        """Reads no more, lets sends be answered, then closes every socket with 1012."""
        self.upgrades.is_open = False
        for socket in self._registry.open.values():
            socket.websocket.pause_reading()
        await self._stream.drain(self.settings.drain_seconds)
        await self._registry.stop(RESTARTING)

    def count(self) -> int:
        """Open sockets."""
        return len(self._registry.open)

    # ---- sockets.socket.SocketHandler ----

    def handle_open(self, socket: Socket) -> None:
        """See `SocketHandler`."""
        self._registry.add(socket)
        if self._ended.is_ended(socket.session_id):
            # Since it was admitted; whoever closes a session's sockets has not seen this one
            self._registry.close(socket, SESSION_REVOKED)
            return
        if self._verifier.is_revoked(socket.token):
            self._registry.close(socket, UNAUTHENTICATED)
            return
        if self._outbox.is_open:
            self._outbox.batch.opens.append(opening_of(socket))
            self._outbox.wake()

    def handle_frame(self, socket: Socket, text: bytes) -> None:
        """See `SocketHandler`."""
        try:
            self.handle_command(socket, socket.generation.read(text))
        except PalaverError as error:
            if is_utf8(text):
                self._registry.refuse(socket, error, None)
                self._count_answer(socket)
            else:
                self._registry.close(socket, MALFORMED)
        except Exception:
            log.exception("frame_failed", generation=socket.generation.name)
            self._registry.refuse(socket, PalaverError(INTERNAL), None)
        self._registry.flush()

    def handle_slow(self, socket: Socket) -> None:
        """See `SocketHandler`."""
        self._registry.suspect_slow(socket)

    def handle_drained(self, socket: Socket) -> None:
        """See `SocketHandler`."""
        self._fan_out.note_drained(socket)

    def handle_close(self, socket: Socket) -> None:
        """See `SocketHandler`."""
        if not self._registry.remove(socket):
            return
        self._fan_out.forget(socket)
        if self._outbox.is_open:
            self._outbox.batch.closes.append(socket.number)
            self._outbox.wake()

    # ---- commands ----

    def handle_command(self, socket: Socket, command: Command) -> None:
        """Does what a frame means. Raises `PalaverError`."""
        if type(command) is PendingSend:
            self._send(socket, command)
            return
        match command:
            case Answer():
                socket.write(command.frame)
                self._count_answer(socket)
            case MoveReceipt():
                record_frame("receive receipt", command.trace, socket, command.chat_id)
                self._stream.move_receipt(socket, command.chat_id, command.received_seq, command.read_seq)
            case ResumeChats():
                self._resume(socket, command)
            case Type():
                self._type(socket, command)

    def _count_answer(self, socket: Socket) -> None:
        if not self._answers:
            asyncio.get_running_loop().call_soon(self._answers.clear)
        self._answers[socket] += 1
        if self._answers[socket] > MOST_ANSWERS:
            self._registry.close(socket, RATE_LIMITED)

    def _send(self, socket: Socket, send: PendingSend) -> None:
        trace, parent_id = begin_message(send.trace)
        send.accept(socket, time.time_ns(), trace, parent_id)
        try:
            self._stream.send(send)
        except PalaverError as error:
            self._registry.refuse(socket, error, send)
            record_received(send, socket, None, error_code(error))
            return
        self._registry.accepted[socket.generation.name] += len(send.texts)

    def _resume(self, socket: Socket, command: ResumeChats) -> None:
        if socket.resuming is not None:
            raise PalaverError(RATE_LIMITED, "a resume is under way", field="cursors", retry_after=1.0)
        socket.resuming = dict(command.cursors)
        socket.resume_span = begin_resume(command.trace, socket)
        # Otherwise it is requested when the messenger has opened the socket, and not before that too
        if socket.attached:
            self._fan_out.request_resume(socket)

    def _type(self, socket: Socket, command: Type) -> None:
        if socket.may_type(command.chat_id, asyncio.get_running_loop().time()):
            record_frame("receive typing", command.trace, socket, command.chat_id)
            self._outbox.batch.typings.add(socket=socket.number, chat_id=command.chat_id)
            self._outbox.wake()


def is_utf8(text: bytes) -> bool:
    """Whether it is a text at all (RFC 6455 §8.1). Only what was refused is looked at: decoders of JSON take
    no other."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
