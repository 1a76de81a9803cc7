"""The transport of a gateway's socket without a network: frames arrive the moment they are sent."""

import asyncio
import json
import struct
from typing import Any

from palaver.gateway.sockets.server import SocketServer
from palaver.gateway.sockets.upgrade import HandshakeRequest
from palaver.gateway.sockets.websocket import CLOSE


def read_frames(written: bytes) -> list[dict[str, Any]]:
    """The JSON objects of unmasked text frames (RFC 6455 §5.2)."""
    found = []
    while written:
        size, start = written[1], 2
        if size == 126:
            (size,) = struct.unpack_from("!H", written, 2)
            start = 4
        elif size == 127:
            (size,) = struct.unpack_from("!Q", written, 2)
            start = 10
        assert written[0] == 0x81, written[:20]
        found.append(json.loads(written[start : start + size]))
        written = written[start + size :]
    return found


# What each handshake has (RFC 6455 §4.2.1)
HANDSHAKE = {"sec-websocket-version": "13", "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA=="}


class MemoryTransport:
    """One client, in the place of the TCP connection and its WebSocket.

    `frames`: all that it received. `closed`: the close code that it got, None before that.
    """

    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []
        self.closed: int | None = None
        self.socket: Any = None
        self._gone = False

    async def open(self, server: SocketServer, path: str, token: str) -> "MemoryTransport":
        """Upgrades as a client with a token does."""
        websocket: Any = await server.upgrades.decide(
            HandshakeRequest(path, {}, {**HANDSHAKE, "authorization": token}, "")
        )
        self.socket = websocket._handler
        websocket.tcp = self
        self.socket.handle_open()
        return self

    @property
    def number(self) -> int:
        """The socket's number at the gateway."""
        return self.socket.number  # type: ignore[no-any-return]

    @property
    def is_open(self) -> bool:
        """Whether neither side has closed it."""
        return not self._gone and self.closed is None

    def send_frame(self, **frame: Any) -> None:
        """Sends a frame."""
        self.socket.handle_message(json.dumps(frame).encode())

    def close(self) -> None:
        """The client goes away."""
        if not self._gone:
            self._gone = True
            self.socket.handle_close()

    # ---- see `asyncio.Transport` ----

    def write(self, frames: bytes) -> None:
        """Receives frames of the gateway. A close, which comes by itself, is answered at once."""
        if frames[0] == CLOSE[0]:
            (self.closed,) = struct.unpack_from("!H", frames, 2)
            asyncio.get_running_loop().call_soon(self.close)
            return
        self.frames += read_frames(frames)

    def is_closing(self) -> bool:
        """See `asyncio.Transport`."""
        return self._gone

    def get_write_buffer_size(self) -> int:
        """Reads everything at once."""
        return 0

    def abort(self) -> None:
        """The gateway drops the connection."""
        self.close()

    def pause_reading(self) -> None:
        """See `asyncio.Transport`."""

    def resume_reading(self) -> None:
        """See `asyncio.Transport`."""
