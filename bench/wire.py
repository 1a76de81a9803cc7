"""The lightest WebSocket client that will do: it shares two cores with the server that it measures.

Frames are made whole, header included, and masked with zeros (RFC 6455 §5.3 asks clients of browsers for
unpredictable masks; the server's work is the same). What is received is searched, not decoded.
"""

import asyncio
import os
from base64 import b64encode
from collections.abc import Callable
from typing import cast

MARK = b"~t"
DIGITS = 16
TEXT_FRAME = 0x81
CLOSE_FRAME = 0x88
PING_FRAME = 0x89
HANDSHAKE_SECONDS = 20.0

Heard = Callable[[bytes, int, int], None]


def frame_of(payload: bytes, opcode: int = TEXT_FRAME) -> bytes:
    """A whole client frame with a mask of zeros."""
    size = len(payload)
    if size < 126:
        head = bytes((opcode, 0x80 | size))
    elif size < 65_536:
        head = bytes((opcode, 0x80 | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((opcode, 0x80 | 127)) + size.to_bytes(8, "big")
    return head + b"\0\0\0\0" + payload


def frame_end(data: bytes, at: int) -> tuple[int, int]:
    """Where the payload of the frame at `at` begins and ends; (0, 0) while its head is not all here."""
    if at + 2 > len(data):
        return 0, 0
    size = data[at + 1]
    if size < 126:
        return at + 2, at + 2 + size
    length = 2 if size == 126 else 8
    if at + 2 + length > len(data):
        return 0, 0
    start = at + 2 + length
    return start, start + int.from_bytes(data[at + 2 : start], "big")


class Socket(asyncio.Protocol):
    """One client socket. `heard(data, start, end)` is called for every text frame: `data[start:end]`."""

    def __init__(self, heard: Heard | None = None) -> None:
        self.heard = heard
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.closed = ""
        self._rest = b""
        self._open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport."""
        # uvloop's transports are no asyncio.Transport, though they do all that one does
        self.transport = cast(asyncio.Transport, transport)
        self.write = self.transport.write

    def data_received(self, data: bytes) -> None:
        """Finds frames; hands on texts, answers pings, notes closes."""
        if not self._open:
            data = self._shake_hands(data)
        if self._rest:
            data = self._rest + data
        at = 0
        end_of_data = len(data)
        heard = self.heard
        while at + 2 <= end_of_data:
            size = data[at + 1]
            if size < 126:
                start = at + 2
            elif size == 126 and at + 4 <= end_of_data:
                start = at + 4
                size = data[at + 2] << 8 | data[at + 3]
            else:
                start, end = frame_end(data, at)
                size = end - start
                if not start:
                    break
            end = start + size
            if end > end_of_data:
                break
            if data[at] != TEXT_FRAME:
                self._hear_control(data[at], data[start:end])
            elif heard is not None:
                heard(data, start, end)
            at = end
        self._rest = data[at:]

    def connection_lost(self, exc: Exception | None) -> None:
        """Notes the end."""
        self.closed = self.closed or repr(exc)
        if not self.opened.done():
            self.opened.set_exception(ConnectionError(f"the socket closed while opening: {self.closed}"))

    def _shake_hands(self, data: bytes) -> bytes:
        """The bytes behind the handshake's answer."""
        answer, found, rest = (self._rest + data).partition(b"\r\n\r\n")
        if not found:
            self._rest = answer
            return b""
        self._rest = b""
        self._open = True
        if not self.opened.done():
            if answer.startswith(b"HTTP/1.1 101"):
                self.opened.set_result(None)
            else:
                self.opened.set_exception(ConnectionError(f"no upgrade: {answer[:200]!r} {rest[:200]!r}"))
        return rest

    def _hear_control(self, opcode: int, payload: bytes) -> None:
        if opcode == PING_FRAME:
            self.write(frame_of(payload, 0x8A))
        elif opcode == CLOSE_FRAME:
            self.closed = f"{int.from_bytes(payload[:2], 'big')} {payload[2:].decode(errors='replace')}"
            self.transport.close()


async def open_socket(address: tuple[str, int], path: str, heard: Heard | None = None) -> Socket:
    """A socket after its handshake. Raises `ConnectionError` and `TimeoutError`."""
    loop = asyncio.get_running_loop()
    _, socket = await loop.create_connection(lambda: Socket(heard), *address)
    key = b64encode(os.urandom(16)).decode()
    socket.write(
        f"GET {path} HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    async with asyncio.timeout(HANDSHAKE_SECONDS):
        await socket.opened
    return socket


class Http(asyncio.Protocol):
    """One keep-alive HTTP/1.1 connection with one request in flight; answers need a `Content-Length`."""

    def __init__(self) -> None:
        self._rest = b""
        self._answered: asyncio.Future[tuple[int, bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport."""
        self.transport = cast(asyncio.Transport, transport)

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and body of the answer. Raises `ConnectionError`."""
        if self.transport.is_closing():
            raise ConnectionError("the server closed the connection")
        self._answered = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self._answered

    def data_received(self, data: bytes) -> None:
        """Gathers one answer."""
        data = self._rest + data if self._rest else data
        body = data.find(b"\r\n\r\n") + 4
        if body < 4 or len(data) < body + (length := content_length(data[:body])):
            self._rest = data
            return
        self._rest = b""
        if self._answered is not None and not self._answered.done():
            self._answered.set_result((int(data[9:12]), data[body : body + length]))

    def connection_lost(self, exc: Exception | None) -> None:
        """Fails the request in flight."""
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(ConnectionError(f"the connection was lost: {exc!r}"))


def content_length(head: bytes) -> int:
    """The length that an answer's head gives; 0 where it gives none."""
    at = head.lower().find(b"content-length:")
    return int(head[at + 15 : head.find(b"\r\n", at)]) if at >= 0 else 0


async def open_http(address: tuple[str, int]) -> Http:
    """A connection."""
    _, http = await asyncio.get_running_loop().create_connection(Http, *address)
    return http


def request_of(method: str, path: str, token: str = "", body: bytes = b"", *, bearer: bool = True) -> bytes:
    """A whole request."""
    head = [f"{method} {path} HTTP/1.1", "Host: bench"]
    if token:
        head.append(f"Authorization: {'Bearer ' if bearer else ''}{token}")
    if body:
        head += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*head, "", ""]).encode() + body
