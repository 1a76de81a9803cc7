"""WebSocket on the wire (RFC 6455): from uvicorn's upgrade to a connection that hears whole texts.

uvicorn sees the upgrade and hands over the TCP connection; picows parses and masks in C. A text costs no
task and no queue: it is heard in the same turn of the event loop in which its bytes arrived.
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
    """What a client asked for when it opened a WebSocket."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]
    address: str


class WebSocket(WSListener):
    """One open WebSocket: whole texts in, frames out. What they mean is for `Hears`."""

    __slots__ = ("_fragments", "_fragments_bytes", "_hears", "_most_bytes", "_transport", "heard", "tcp")

    def __init__(self, hears: "Hears", most_bytes: int) -> None:
        self._hears = hears
        self._most_bytes = most_bytes
        self._fragments: list[bytes] | None = None
        self._fragments_bytes = 0
        self._transport: WSTransport | None = None
        self.tcp: asyncio.Transport | None = None
        # Set by every frame, cleared by whoever looks for silent peers
        self.heard = True

    # ---- called by picows ----

    def on_ws_connected(self, transport: WSTransport) -> None:
        """The handshake is done."""
        self._transport = transport
        self.tcp = transport.underlying_transport
        self._hears.opened()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """A frame came."""
        self.heard = True
        kind = frame.msg_type
        if transport.is_close_frame_sent:
            if kind == WSMsgType.CLOSE:
                transport.disconnect()
            return
        if frame.rsv1 or frame.rsv2 or frame.rsv3:
            # No extension was agreed on that would say what they mean
            self._fail(1002)
        elif kind == WSMsgType.TEXT and frame.fin and self._fragments is None:
            self._hears.hear(frame.get_payload_as_bytes())
        elif kind == WSMsgType.CLOSE:
            # 0 is picows' word for no code, and must not be written
            self._fail(cast(int, frame.get_close_code()) or 1000)
        elif kind != WSMsgType.PONG:
            self._take_fragment(kind, frame)

    def on_ws_disconnected(self, transport: WSTransport) -> None:  # noqa: ARG002 - the signature is picows'
        """The connection is gone."""
        self._hears.closed()

    def pause_writing(self) -> None:
        """Nothing to do: what waits is counted where it is written."""

    def resume_writing(self) -> None:
        """The peer has read most of what waited."""
        self._hears.drained()

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
        """Hears nothing more; what the peer still sends stays unread."""
        if self.tcp is not None and not self.tcp.is_closing():
            self.tcp.pause_reading()

    def ping(self) -> None:
        """Asks the peer for a sign of life."""
        if self._transport is not None:
            self._transport.send_ping()

    def close(self, kind: ErrorKind) -> None:
        """Closes with the code and title of an error. Of what comes after, only the peer's close is heard."""
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
            self._hears.hear(text)

    def _fail(self, code: int) -> None:
        assert self._transport is not None
        self._transport.send_close(code)  # type: ignore[arg-type] # any number is taken
        self._transport.disconnect()


class Hears(Protocol):
    """What a socket does with what its wire tells."""

    def opened(self) -> None:
        """The handshake is done: `WebSocket.write` works."""
        ...

    def hear(self, text: bytes) -> None:
        """A whole message came, text or binary."""
        ...

    def drained(self) -> None:
        """The peer has read most of what waited."""
        ...

    def closed(self) -> None:
        """The connection is gone."""
        ...


# The socket's wire, or the HTTP answer that refuses it. Raises nothing
Decide = Callable[[HandshakeRequest], Awaitable[WebSocket | bytes]]


class UpgradeProtocol(asyncio.Protocol):
    """Decides on one upgrade request, then hands the connection to picows, or answers an error."""

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
            self._task = asyncio.create_task(self._answer(data))
            return
        self._behind += data
        if len(self._behind) > self._most_bytes and self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client did not wait."""
        del exc
        if self._task is not None:
            self._task.cancel()

    async def _answer(self, head: bytes) -> None:
        transport = self._transport
        assert transport is not None
        answer = await self._decide(read_request(head, transport))
        if isinstance(answer, WebSocket):
            self._hand_over(transport, answer, head)
        else:
            transport.write(answer)
            transport.close()

    def _hand_over(self, transport: asyncio.Transport, wire: WebSocket, head: bytes) -> None:
        protocol = WSProtocol(
            None,
            None,
            False,
            lambda _request: wire,
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
        give(protocol, head)
        give(protocol, bytes(self._behind))


def give(protocol: Any, data: bytes) -> None:
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


def http_answer(
    status: int, body: bytes, content_type: str, retry_after: float = 0.0, traceparent: str = ""
) -> bytes:
    """A whole HTTP/1.1 answer that ends its connection."""
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
