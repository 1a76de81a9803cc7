"""A WebSocket client of bytes: it writes any, and reads frame by frame (RFC 6455)."""

import asyncio
import base64
import contextlib
import os
import struct
from dataclasses import dataclass
from typing import Self

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


@dataclass(frozen=True)
class Frame:
    """One frame of the server's."""

    opcode: int
    payload: bytes
    fin: bool = True

    @property
    def close_code(self) -> int | None:
        """A close frame's status, None where it has none."""
        return struct.unpack_from("!H", self.payload)[0] if len(self.payload) >= 2 else None


def client_frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    masked: bool = True,
    size: int | None = None,
) -> bytes:
    """A frame as a client sends it. `size`: the length in its header, where that is a false one."""
    stated = len(payload) if size is None else size
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    mask_bit = 0x80 if masked else 0
    if stated < 126:
        head += bytes([mask_bit | stated])
    elif stated < 65_536:
        head += struct.pack("!BH", mask_bit | 126, stated)
    else:
        head += struct.pack("!BQ", mask_bit | 127, stated)
    # A mask of zeros changes nothing, and is one
    return head + (bytes(4) if masked else b"") + payload


class RawSocket:
    """One connection, after its upgrade."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def request_upgrade(
        cls, host: str, port: int, path: str, token: str, *, limit: int = 2**20
    ) -> Self:
        """Requests an upgrade with the token in the header, without waiting for the response.

        `limit`: about half of the bytes that are buffered before a test reads them.
        """
        reader, writer = await asyncio.open_connection(host, port, limit=limit)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: {host}:{port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
            f"Authorization: {token}",
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        return cls(reader, writer)

    async def upgraded(self) -> Self:
        """Waits for the response. Raises `ConnectionError` with its text where it is a refusal."""
        answer = await self.reader.readuntil(b"\r\n\r\n")
        if b" 101 " not in answer.split(b"\r\n")[0]:
            answer += await self.reader.read()
            await self.close()
            raise ConnectionError(answer.decode())
        return self

    @classmethod
    async def open(cls, host: str, port: int, path: str, token: str, *, limit: int = 2**20) -> Self:
        """Requests an upgrade, and waits for the response."""
        return await (await cls.request_upgrade(host, port, path, token, limit=limit)).upgraded()

    def write(self, *frames: bytes) -> None:
        """Sends bytes."""
        self.writer.write(b"".join(frames))

    async def read(self) -> Frame | None:
        """The next frame; None behind the last one."""
        try:
            first, second = await self.reader.readexactly(2)
            size = second & 0x7F
            if size == 126:
                (size,) = struct.unpack("!H", await self.reader.readexactly(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
            payload = await self.reader.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        assert not second & 0x80, "a server masks nothing"
        return Frame(first & 0x0F, payload, bool(first & 0x80))

    async def close(self) -> None:
        """Drops the connection."""
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()
