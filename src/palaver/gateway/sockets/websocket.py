"""The WebSocket protocol (RFC 6455): from uvicorn's upgrade to a connection that receives whole messages.

uvicorn sees the upgrade and hands over the TCP connection; picows parses and masks in C. A message costs no
task and no queue: it is handled in the same turn of the event loop in which its bytes arrived.
"""

import asyncio
import logging
import math
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, cast
from urllib.parse import parse_qsl

from picows import WSAutoPingStrategy, WSFrame, WSListener, WSMsgType, WSTransport
from picows.picows import WSProtocol  # type: ignore[attr-defined] # missing in the stubs

from palaver.contracts.errors import TOO_LARGE, ErrorKind

HANDSHAKE_SECONDS = 10.0
READ_BUFFER_BYTES = 2048

# picows makes a child logger a connection of a Logger, and none of an adapter
_logger = logging.LoggerAdapter(logging.getLogger("picows"), {})


def text_frame(payload: bytes) -> bytes:
    """A whole, unmasked text frame."""
    size = len(payload)
    if size < 126:
        return b"\x81" + size.to_bytes(1, "big") + payload
    if size < 65_536:
        return struct.pack("!BBH", 0x81, 126, size) + payload
    return struct.pack("!BBQ", 0x81, 127, size) + payload


@dataclass(frozen=True, slots=True)
class HandshakeRequest:
    """An upgrade request."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]
    address: str


class WebSocket(WSListener):
    """One open WebSocket: whole messages in, frames out. What they mean is for its handler."""

    __slots__ = (
        "_fragments",
        "_fragments_bytes",
        "_handler",
        "_most_bytes",
        "_transport",
        "tcp",
        "was_active",
    )

    def __init__(self, handler: "WebSocketHandler", most_bytes: int) -> None:
        self._handler = handler
        self._most_bytes = most_bytes
        self._fragments: list[bytes] | None = None
        self._fragments_bytes = 0
        self._transport: WSTransport | None = None
        self.tcp: asyncio.Transport | None = None
        # Set by every frame, cleared by whoever looks for silent peers
        self.was_active = True

    # ---- called by picows ----

    def on_ws_connected(self, transport: WSTransport) -> None:
        """The handshake is done."""
        self._transport = transport
        self.tcp = transport.underlying_transport
        self._handler.handle_open()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """A frame came."""
        self.was_active = True
        kind = frame.msg_type
        if transport.is_close_frame_sent:
            if kind == WSMsgType.CLOSE:
                transport.disconnect()
            return
        if frame.rsv1 or frame.rsv2 or frame.rsv3:
            # No extension was agreed on that gives them a meaning
            self._fail(1002)
        elif kind == WSMsgType.TEXT and frame.fin and self._fragments is None:
            self._handler.handle_message(frame.get_payload_as_bytes())
        elif kind == WSMsgType.CLOSE:
            # 0 stands for no code in picows, and must not be written
            self._fail(cast(int, frame.get_close_code()) or 1000)
        elif kind != WSMsgType.PONG:
            self._take_fragment(kind, frame)

    def on_ws_disconnected(self, transport: WSTransport) -> None:  # noqa: ARG002 - the signature is picows'
        """The connection is gone."""
        self._handler.handle_close()

    def pause_writing(self) -> None:
        """Nothing to do: what waits is counted where it is written."""

    def resume_writing(self) -> None:
        """The peer has read most of what waited."""
        self._handler.handle_drained()

    # ---- called by the socket ----

    def write(self, frames: bytes) -> int:
        """Writes frames. Returns the bytes that wait for the peer to read."""
        tcp, transport = self.tcp, self._transport
        if tcp is None or transport is None or tcp.is_closing() or transport.is_close_frame_sent:
            # Nothing may follow a close frame (RFC 6455 §5.5.1)
            return 0
        tcp.write(frames)
        return tcp.get_write_buffer_size()

    def waiting(self) -> int:
        """Bytes that wait for the peer to read."""
        return 0 if self.tcp is None else self.tcp.get_write_buffer_size()

    def pause_reading(self) -> None:
        """Receives nothing more; what the peer still sends stays unread."""
        if self.tcp is not None and not self.tcp.is_closing():
            self.tcp.pause_reading()

    def ping(self) -> None:
        """Sends a ping, which a live peer answers."""
        if self._transport is not None:
            self._transport.send_ping()

    def close(self, kind: ErrorKind) -> None:
        """Closes with the code and title of an error. Of what comes after, only the peer's close is read."""
        if self._transport is None or self._transport.is_close_frame_sent:
            return
        self._transport.send_close(kind.close, kind.title.encode())  # type: ignore[arg-type] # any number is taken
        if self.tcp is not None and not self.tcp.is_closing():
            self.tcp.resume_reading()

    def abort(self) -> None:
        """Drops the connection, and all that waits for the peer."""
        if self._transport is not None:
            self._transport.disconnect(False)

    # ---- fragments ----

    def _take_fragment(self, kind: WSMsgType, frame: WSFrame) -> None:
        begins = kind in (WSMsgType.TEXT, WSMsgType.BINARY)
        if begins == (self._fragments is not None):
            self._fail(1002)
            return
        if begins:
            self._fragments, self._fragments_bytes = [], 0
        assert self._fragments is not None
        self._fragments_bytes += frame.payload_size
        if self._fragments_bytes > self._most_bytes:
            self._fail(TOO_LARGE.close)
            return
        if frame.payload_size:
            # Empty ones could go on for ever
            self._fragments.append(frame.get_payload_as_bytes())
        if frame.fin:
            text, self._fragments = b"".join(self._fragments), None
            self._handler.handle_message(text)

    def _fail(self, code: int) -> None:
        assert self._transport is not None
        self._transport.send_close(code)  # type: ignore[arg-type] # any number is taken
        self._transport.disconnect()


class WebSocketHandler(Protocol):
    """What is done with what happens to a WebSocket."""

    def handle_open(self) -> None:
        """The handshake is done: `WebSocket.write` works."""
        ...

    def handle_message(self, text: bytes) -> None:
        """A whole message came, text or binary."""
        ...

    def handle_drained(self) -> None:
        """The peer has read most of what waited."""
        ...

    def handle_close(self) -> None:
        """The connection is gone."""
        ...


# The WebSocket, or the HTTP response that refuses it. Raises nothing
Decide = Callable[[HandshakeRequest], Awaitable[WebSocket | bytes]]


class UpgradeProtocol(asyncio.Protocol):
    """Decides on one upgrade request, then hands the connection to picows, or refuses it."""

    def __init__(self, decide: Decide, most_bytes: int) -> None:
        self._decide = decide
        self._most_bytes = most_bytes
        self._transport: asyncio.Transport | None = None
        self._head: bytes | None = None
        self._behind = bytearray()
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """uvicorn gives its connection away."""
        # uvloop's transports are not asyncio.Transport's children
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """First the request, as uvicorn read it; then whatever the client sends too early."""
        if self._head is None:
            self._head = data
            # A task begins in the next turn, when uvicorn has made this the connection's protocol
            self._task = asyncio.create_task(self._respond(data))
            return
        self._behind += data
        if len(self._behind) > self._most_bytes and self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client did not wait."""
        del exc
        if self._task is not None:
            self._task.cancel()

    async def _respond(self, head: bytes) -> None:
        transport = self._transport
        assert transport is not None
        decision = await self._decide(read_request(head, transport))
        if isinstance(decision, WebSocket):
            self._hand_over(transport, decision, head)
        else:
            transport.write(decision)
            transport.close()

    def _hand_over(self, transport: asyncio.Transport, websocket: WebSocket, head: bytes) -> None:
        protocol = WSProtocol(
            None,
            None,
            False,
            lambda _request: websocket,
            _logger,
            True,
            HANDSHAKE_SECONDS,
            False,
            1.0,
            1.0,
            WSAutoPingStrategy.PING_WHEN_IDLE,
            True,
            self._most_bytes,
            None,
            READ_BUFFER_BYTES,
        )
        protocol.connection_made(transport)
        transport.set_protocol(protocol)
        feed(protocol, head)
        feed(protocol, bytes(self._behind))


def feed(protocol: Any, data: bytes) -> None:
    """Lets a buffered protocol receive bytes that were read for it."""
    while data:
        room = protocol.get_buffer(-1)
        size = min(len(room), len(data))
        room[:size] = data[:size]
        protocol.buffer_updated(size)
        data = data[size:]


def read_request(head: bytes, transport: asyncio.Transport) -> HandshakeRequest:
    """The upgrade request, which uvicorn has parsed and put together again."""
    line, *rest = head.decode("latin-1").split("\r\n")
    target = line.split(" ")[1]
    path, _, query = target.partition("?")
    headers = {}
    for header in rest:
        name, _, value = header.partition(":")
        headers[name.lower()] = value.strip()
    peer = transport.get_extra_info("peername") or ("",)
    return HandshakeRequest(path, dict(parse_qsl(query)), headers, str(peer[0]))


STATUS_TEXT = {400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}


def http_response(
    status: int, body: bytes, content_type: str, retry_after: float = 0.0, traceparent: str = ""
) -> bytes:
    """A whole HTTP/1.1 response that ends its connection."""
    lines = [
        f"HTTP/1.1 {status} {STATUS_TEXT.get(status, 'Error')}",
        f"content-type: {content_type}",
        f"content-length: {len(body)}",
        "connection: close",
    ]
    if retry_after:
        lines.append(f"retry-after: {math.ceil(retry_after)}")
    if traceparent:
        lines.append(f"traceresponse: {traceparent}")
    if status == 401:
        lines.append("www-authenticate: Bearer")
    return "\r\n".join([*lines, "", ""]).encode() + body
