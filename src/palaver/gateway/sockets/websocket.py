"""The WebSocket protocol (RFC 6455): a connection that receives whole messages.

picows parses and masks in C. A message costs no task and no queue: it is handled in the same turn of the
event loop in which its bytes arrived.
"""

import asyncio
import struct
from typing import Protocol, cast

from picows import WSFrame, WSListener, WSMsgType, WSTransport

from palaver.contracts.errors import TOO_LARGE, ErrorKind


def text_frame(payload: bytes) -> bytes:
    """A whole, unmasked text frame."""
    size = len(payload)
    if size < 126:
        return b"\x81" + size.to_bytes(1, "big") + payload
    if size < 65_536:
        return struct.pack("!BBH", 0x81, 126, size) + payload
    return struct.pack("!BBQ", 0x81, 127, size) + payload


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
