"""The TCP connection under a WebSocket, as picows sees it, and after its last frame."""

import asyncio
from collections.abc import Callable
from typing import Any

# Read and forgotten: one for all connections
_UNREAD = bytearray(65_536)


class ParserTransport:
    """Stands between picows and the TCP connection: only the answer to the handshake passes.

    What picows writes by itself later is a close frame, for what breaks the protocol. `fail` gets its code,
    and answers: a frame that picows has parsed already is handled before the close is sent.
    """

    def __init__(self, tcp: asyncio.Transport, fail: Callable[[int], None]) -> None:
        self._tcp = tcp
        self._fail = fail
        self._is_upgraded = False

    def write(self, data: bytes | bytearray) -> None:
        """The response to the handshake, or a close frame."""
        if self._is_upgraded:
            self._fail(int.from_bytes(data[2:4], "big"))
            return
        self._is_upgraded = data.startswith(b"HTTP/1.1 101 ")
        self._tcp.write(bytes(data))

    def close(self) -> None:
        """Closes what was not upgraded. Otherwise the WebSocket does, once its close frame is read."""
        if not self._is_upgraded:
            self._tcp.close()

    def get_write_buffer_size(self) -> int:
        """Never 0: picows would write to the socket itself, past everything that counts."""
        return 1

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """See `asyncio.Transport`."""
        return self._tcp.get_extra_info(name, default)


class Drain(asyncio.BufferedProtocol):
    """Reads what a peer still sends behind the last frame, and forgets it.

    A connection that is closed with bytes unread is reset, and the peer may lose the close frame by that.
    """

    def get_buffer(self, sizehint: int) -> bytearray:
        """See `asyncio.BufferedProtocol`."""
        del sizehint
        return _UNREAD

    def buffer_updated(self, nbytes: int) -> None:
        """Does nothing."""
