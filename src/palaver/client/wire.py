"""Frames as bytes, and what it means when a server refuses or ends a connection."""

import contextlib
import logging

import aiohttp
import msgspec

from palaver.client.rest import SignedOut, kind_of_status
from palaver.contracts.errors import MALFORMED, UNAUTHENTICATED, UNAVAILABLE, UNSUPPORTED_DATA, PalaverError
from palaver.contracts.frames import ServerFrame

_read = msgspec.json.Decoder(ServerFrame).decode
_TYPES = {"hello", "sent", "message", "receipt", "typing", "presence", "resumed", "error", "pong"}
# A client error that another time may not be one
_PASSING_STATUSES = (408, 425, 429)

log = logging.getLogger("palaver.client")

frame_bytes = msgspec.json.Encoder().encode


def read_frame(data: str | bytes) -> ServerFrame | None:
    """A server's frame; None for a type that this client does not know, since the server may be newer."""
    try:
        frame: ServerFrame = _read(data)
    except msgspec.DecodeError as error:
        with contextlib.suppress(msgspec.DecodeError):
            kind = msgspec.json.decode(data, type=dict[str, object]).get("type")
            if isinstance(kind, str) and kind not in _TYPES:
                return None
        log.warning("frame passed over, which cannot be understood: %s", error)
        return None
    return frame


def is_final(error: PalaverError) -> bool:
    """Whether coming back does not help."""
    if isinstance(error, SignedOut):
        return True
    return 400 <= error.kind.http < 500 and error.kind.http not in _PASSING_STATUSES


def refusal_of_upgrade(error: aiohttp.WSServerHandshakeError) -> PalaverError:
    """Why there is no socket. A refused token is no end: the refresh has shown whether the session lives."""
    kind = UNAVAILABLE if error.status == UNAUTHENTICATED.http else kind_of_status(error.status)
    after = error.headers.get("retry-after", "") if error.headers else ""
    text = f"the server refused the socket with status {error.status}"
    return PalaverError(kind, text, retry_after=float(after) if after.isdecimal() else 0.0)


def refusal_of_close(code: int | None) -> PalaverError:
    """Why a connection ended; most reasons pass (see docs/reference/sockets.md)."""
    if code in (MALFORMED.close, UNSUPPORTED_DATA.close):
        return PalaverError(MALFORMED, f"the server does not understand this client: close code {code}")
    return PalaverError(UNAVAILABLE, f"the connection was closed with code {code}")
