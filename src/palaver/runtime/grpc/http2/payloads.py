"""Payloads of HTTP/2 frames (RFC 9113, section 6). Each function raises `Http2Error` for one that errs."""

import struct
from typing import Any, NoReturn

from palaver.runtime.grpc.http2.frames import (
    ACK,
    HAS_PRIORITY,
    MOST_WINDOW,
    PADDED,
    ErrorCode,
    Frame,
    Http2Error,
)

# Ten times as many as there are
SETTINGS_BYTES = 6 * 64


def without_padding(frame: Frame) -> bytes:
    """A frame's payload without its padding (section 6.1)."""
    payload = frame.payload
    if not frame.flags & PADDED:
        return payload
    if not payload:
        raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "no length of the padding")
    padding = payload[0]
    if padding >= len(payload):
        raise Http2Error(ErrorCode.PROTOCOL_ERROR, "more padding than payload")
    return payload[1 : len(payload) - padding]


def header_block(frame: Frame) -> bytes:
    """The header block of a HEADERS frame, without padding and priority (section 6.2)."""
    payload = without_padding(frame)
    if not frame.flags & HAS_PRIORITY:
        return payload
    if len(payload) < 5:
        raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "no room for the priority")
    if int.from_bytes(payload[:4], "big") & MOST_WINDOW == frame.stream_id:
        raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a stream that depends on itself")
    return payload[5:]


def read_settings(frame: Frame) -> list[tuple[int, int]]:
    """What a SETTINGS frame sets, in its order; unknown keys too."""
    payload = frame.payload
    if len(payload) % 6 or (payload and frame.flags & ACK):
        raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS")
    if len(payload) > SETTINGS_BYTES:
        raise Http2Error(ErrorCode.ENHANCE_YOUR_CALM, "too many settings")
    return [struct.unpack_from(">HI", payload, at) for at in range(0, len(payload), 6)]


def read_number(frame: Frame) -> int:
    """The number that a frame is made of."""
    if len(frame.payload) != 4:
        raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "a number of other than four bytes")
    return int.from_bytes(frame.payload, "big")


def read_goaway(frame: Frame) -> tuple[int, int]:
    """The last stream that the peer took, and the code."""
    check_of_connection(frame)
    if len(frame.payload) < 8:
        raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY")
    last_id, code = struct.unpack_from(">II", frame.payload)
    return last_id & MOST_WINDOW, code


def check_of_connection(frame: Frame) -> None:
    """Frames of the connection name no stream."""
    if frame.stream_id:
        raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a stream's frame that is the connection's")


def check_ping(frame: Frame) -> None:
    """A PING has eight bytes."""
    check_of_connection(frame)
    if len(frame.payload) != 8:
        raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "PING")


def check_priority(frame: Frame, _: Any) -> None:
    """A PRIORITY is read by nobody, but must have its form."""
    if len(frame.payload) != 5:
        raise Http2Error(ErrorCode.FRAME_SIZE_ERROR, "PRIORITY")
    if not frame.stream_id:
        raise Http2Error(ErrorCode.PROTOCOL_ERROR, "the priority of no stream")


def refuse_push(frame: Frame, _: Any) -> NoReturn:
    """Clients must not push, and servers were told not to."""
    raise Http2Error(ErrorCode.PROTOCOL_ERROR, f"a push on stream {frame.stream_id}")
