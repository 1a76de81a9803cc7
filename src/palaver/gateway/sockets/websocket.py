"""The WebSocket protocol (RFC 6455): a connection that receives whole messages.

picows parses and masks in C. A message costs no task and no queue: it is handled in the same turn of the
event loop in which its bytes arrived.
"""

import asyncio
import codecs
import socket
import struct
from typing import Protocol

from picows import WSFrame, WSListener, WSMsgType, WSTransport

from palaver.contracts.errors import MALFORMED, TOO_LARGE, UNSUPPORTED_DATA, ErrorKind
from palaver.gateway.sockets.connection import Drain, ParserTransport

# What the kernel keeps of what was not read yet, and one read can bring: about twice that
RECEIVE_BYTES = 65_536
# After its close frame a connection may take so long to be closed by the peer
LINGER_SECONDS = 2.0
# Pings of one turn of the event loop that are answered each; of more, for which all would wait, the last
MOST_PONGS = 100
# First bytes of whole control frames
CLOSE, PING, PONG = b"\x88", b"\x89", b"\x8a"

new_utf8_decoder = codecs.getincrementaldecoder("utf-8")


def text_frame(payload: bytes) -> bytes:
    """A whole, unmasked text frame."""
    size = len(payload)
    if size < 126:
        return b"\x81" + size.to_bytes(1, "big") + payload
    if size < 65_536:
        return struct.pack("!BBH", 0x81, 126, size) + payload
    return struct.pack("!BBQ", 0x81, 127, size) + payload


def control_frame(first: bytes, payload: bytes) -> bytes:
    """A whole, unmasked control frame. Its payload has 125 bytes at most."""
    return first + len(payload).to_bytes(1, "big") + payload


class WebSocket(WSListener):
    """One open WebSocket: whole messages in, frames out. What they mean is for its handler.

    The UTF-8 of a message in one frame is its handler's to check, which decodes it anyway.
    """

    __slots__ = (
        "_decoder",
        "_fragments",
        "_handler",
        "_is_closing",
        "_is_gone",
        "_is_paused",
        "_most_bytes",
        "_most_waiting",
        "_pong",
        "_pong_bytes",
        "_pongs",
        "tcp",
        "was_active",
    )

    def __init__(self, handler: "WebSocketHandler", most_bytes: int, most_waiting: int) -> None:
        """`most_bytes`: of one message. `most_waiting`: bytes that may wait for the peer to read."""
        self._handler = handler
        self._most_bytes = most_bytes
        self._most_waiting = most_waiting
        self._fragments: bytearray | None = None
        self._decoder: codecs.IncrementalDecoder | None = None
        # Much waits for the peer; the last ping since then, and the size of the answers to all of them
        self._is_paused = False
        self._pong = b""
        self._pong_bytes = 0
        # Since this turn began
        self._pongs = 0
        # A close frame is sent; the handler knows that it is over
        self._is_closing = False
        self._is_gone = False
        self.tcp: asyncio.Transport | None = None
        # Set by every frame, cleared by whoever looks for silent peers
        self.was_active = True

    def attach(self, tcp: asyncio.Transport) -> ParserTransport:
        """Takes the TCP connection. Returns what picows gets in its place."""
        self.tcp = tcp
        # picows' buffer doubles as long as reads fill it, and stays so large
        tcp.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        return ParserTransport(tcp, self._fail_later)

    # ---- called by picows ----

    def on_ws_connected(self, transport: WSTransport) -> None:  # noqa: ARG002 - the signature is picows', here and below
        """The handshake is done."""
        self._handler.handle_open()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:  # noqa: ARG002
        """A frame came."""
        self.was_active = True
        kind = frame.msg_type
        if self._is_closing:
            if kind == WSMsgType.CLOSE and self.tcp is not None:
                self.tcp.close()
        elif frame.rsv1 or frame.rsv2 or frame.rsv3:
            # No extension was agreed on that gives them a meaning
            self._fail(1002)
        elif kind == WSMsgType.TEXT and frame.fin and self._fragments is None:
            self._handler.handle_message(frame.get_payload_as_bytes())
        elif kind == WSMsgType.PING:
            self._answer_ping(frame.get_payload_as_bytes())
        elif kind == WSMsgType.CLOSE:
            self._fail(answer_to_close(frame.get_payload_as_bytes()))
        elif kind != WSMsgType.PONG:
            self._take_fragment(kind, frame)

    def on_ws_disconnected(self, transport: WSTransport) -> None:  # noqa: ARG002
        """The connection is gone."""
        self._end()

    def pause_writing(self) -> None:
        """Much waits for the peer."""
        self._is_paused = True

    def resume_writing(self) -> None:
        """The peer has read most of what waited."""
        self._is_paused = False
        self._write_last_pong()
        self._handler.handle_drained()

    # ---- called by the socket ----

    def write(self, frames: bytes) -> int:
        """Writes frames: every byte to the peer passes here. Returns the bytes that wait for it to read."""
        tcp = self.tcp
        if tcp is None or self._is_closing or tcp.is_closing():
            # Nothing may follow a close frame (RFC 6455 §5.5.1)
            return 0
        tcp.write(frames)
        waiting = tcp.get_write_buffer_size() + self._pong_bytes
        if waiting > self._most_waiting:
            self._handler.handle_slow()
        return waiting

    def waiting(self) -> int:
        """Bytes that wait for the peer to read."""
        return 0 if self.tcp is None else self.tcp.get_write_buffer_size() + self._pong_bytes

    def pause_reading(self) -> None:
        """Receives nothing more; what the peer still sends stays unread."""
        if self.tcp is not None and not self.tcp.is_closing():
            self.tcp.pause_reading()

    def ping(self) -> None:
        """Sends a ping, which a live peer answers."""
        self.write(control_frame(PING, b""))

    def close(self, kind: ErrorKind) -> None:
        """Closes with the code and title of an error. Of what comes after, only the peer's close is read."""
        if self.tcp is None or self._is_closing:
            return
        self._send_close(kind.close, kind.title.encode())
        if not self.tcp.is_closing():
            self.tcp.resume_reading()

    def abort(self) -> None:
        """Drops the connection, and all that waits for the peer."""
        if self.tcp is not None:
            self.tcp.abort()

    # ---- pings, fragments, and the end ----

    def _answer_ping(self, payload: bytes) -> None:
        pong = control_frame(PONG, payload)
        if not self._is_paused and self._pongs < MOST_PONGS:
            if not self._pongs:
                asyncio.get_running_loop().call_soon(self._end_turn)
            self._pongs += 1
            self.write(pong)
            return
        # The last of several is answer enough (RFC 6455 §5.5.3). All count, as if they waited: a peer that
        # sends pings and reads no answer is a slow reader
        self._pong = pong
        self._pong_bytes += len(pong)
        if self.waiting() > self._most_waiting:
            self._handler.handle_slow()

    def _end_turn(self) -> None:
        self._pongs = 0
        if not self._is_paused:
            self._write_last_pong()

    def _write_last_pong(self) -> None:
        pong, self._pong, self._pong_bytes = self._pong, b"", 0
        if pong:
            self.write(pong)

    def _take_fragment(self, kind: WSMsgType, frame: WSFrame) -> None:
        begins = kind != WSMsgType.CONTINUATION
        if begins == (self._fragments is not None):
            self._fail(1002)
            return
        if kind == WSMsgType.BINARY:
            self._fail(UNSUPPORTED_DATA.close)
            return
        if begins or self._fragments is None or self._decoder is None:
            self._fragments, self._decoder = bytearray(), new_utf8_decoder()
        if len(self._fragments) + frame.payload_size > self._most_bytes:
            self._fail(TOO_LARGE.close)
            return
        payload = frame.get_payload_as_bytes()
        self._fragments += payload
        try:
            self._decoder.decode(payload, bool(frame.fin))
        except UnicodeDecodeError:
            self._fail(MALFORMED.close)
            return
        if frame.fin:
            text, self._fragments, self._decoder = bytes(self._fragments), None, None
            self._handler.handle_message(text)

    def _fail_later(self, code: int) -> None:
        """picows found what breaks the protocol, and has yet to give the frame before that."""
        if self.tcp is not None:
            # Or picows would parse the same bytes again, with those that come
            self.tcp.pause_reading()
            asyncio.get_running_loop().call_soon(self._fail, code)

    def _fail(self, code: int) -> None:
        """Closes. Nothing that the peer still sends is handled, its close neither."""
        self._send_close(code)
        tcp = self.tcp
        if tcp is not None and not tcp.is_closing():
            tcp.set_protocol(Drain())
            tcp.resume_reading()
            tcp.write_eof()
            asyncio.get_running_loop().call_later(LINGER_SECONDS, tcp.abort)
        self._end()

    def _send_close(self, code: int, reason: bytes = b"") -> None:
        self.write(control_frame(CLOSE, code.to_bytes(2, "big") + reason))
        self._is_closing = True

    def _end(self) -> None:
        if not self._is_gone:
            self._is_gone = True
            self._handler.handle_close()


def answer_to_close(payload: bytes) -> int:
    """The code that answers a client's close: its own, where that may be on the wire (RFC 6455 §7.4)."""
    if not payload:
        return 1000
    code = int.from_bytes(payload[:2], "big") if len(payload) > 1 else 0
    is_defined = 1000 <= code <= 1014 and code not in (1004, 1005, 1006)
    return code if is_defined or 3000 <= code <= 4999 else 1002


class WebSocketHandler(Protocol):
    """What is done with what happens to a WebSocket."""

    def handle_open(self) -> None:
        """The handshake is done: `WebSocket.write` works."""
        ...

    def handle_message(self, text: bytes) -> None:
        """A whole message came, as text. One that came in one frame may be no UTF-8."""
        ...

    def handle_slow(self) -> None:
        """More waits for the peer than may. May come again and again."""
        ...

    def handle_drained(self) -> None:
        """The peer has read most of what waited."""
        ...

    def handle_close(self) -> None:
        """The connection is gone."""
        ...
