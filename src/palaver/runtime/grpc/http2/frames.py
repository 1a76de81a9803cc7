"""HTTP/2 frames (RFC 9113, sections 4 and 6): their numbers, and bytes into frames and back."""

import struct
from enum import IntEnum
from typing import NamedTuple

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD_BYTES = 9
# Larger than the least that every peer takes: a page of history is one frame and not twenty
FRAME_BYTES = 256 * 1024
LEAST_FRAME_BYTES = 16_384
MOST_FRAME_BYTES = 2**24 - 1
MOST_WINDOW = 2**31 - 1

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = range(5)
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(5, 10)
ACK = END_STREAM = 0x1
END_HEADERS = 0x4
PADDED = 0x8
HAS_PRIORITY = 0x20

_HEAD = struct.Struct(">HBBBI")


class ErrorCode(IntEnum):
    """Why a stream or a connection ends (section 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class Setting(IntEnum):
    """What a peer may set (section 6.5.2)."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class Http2Error(Exception):
    """The peer breaks the protocol, or asks for too much: the connection ends."""

    def __init__(self, code: ErrorCode, text: str) -> None:
        super().__init__(f"{code.name}: {text}")
        self.code = code
        self.text = text


class Frame(NamedTuple):
    """One frame as it came."""

    kind: int
    flags: int
    stream_id: int
    payload: bytes


def encode_frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """A frame's bytes."""
    size = len(payload)
    return _HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream_id) + payload


class FrameReader:
    """Takes bytes as they come, and gives whole frames."""

    def __init__(self) -> None:
        # Bytes while all came at once, which is the rule; else what has gathered
        self._bytes: bytes | bytearray = b""
        self._position = 0

    def feed(self, data: bytes) -> None:
        """Takes what came."""
        if self._position == len(self._bytes):
            self._bytes, self._position = data, 0
            return
        if not isinstance(self._bytes, bytearray):
            self._bytes = bytearray(self._bytes)
        del self._bytes[: self._position]
        self._position = 0
        self._bytes += data

    def next(self) -> Frame | None:
        """The next frame, if all of it is there. Raises `Http2Error` for one that is too large."""
        start = self._position + HEAD_BYTES
        if len(self._bytes) < start:
            return None
        high, low, kind, flags, stream_id = _HEAD.unpack_from(self._bytes, self._position)
        size = high << 8 | low
        if size > FRAME_BYTES:
            raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {size} bytes")
        end = start + size
        if len(self._bytes) < end:
            return None
        self._position = end
        return Frame(kind, flags, stream_id & MOST_WINDOW, bytes(self._bytes[start:end]))


def settings_payload(settings: dict[Setting, int]) -> bytes:
    """The payload of a SETTINGS frame."""
    return b"".join(struct.pack(">HI", key, value) for key, value in settings.items())
