"""The upgrade to a WebSocket: the request that uvicorn hands over, and who gets the connection.

picows gets it with the WebSocket that was decided on, or the client gets an HTTP response that refuses.
picows sees a request of ours, because it refuses valid ones: RFC 6455 §4.2.1 is checked here.
"""

import asyncio
import base64
import binascii
import logging
import math
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import parse_qsl, unquote

from picows import WSAutoPingStrategy
from picows.picows import WSProtocol  # type: ignore[attr-defined] # missing in the stubs

from palaver.contracts.errors import MALFORMED, UPGRADE_REQUIRED, PalaverError
from palaver.gateway.sockets.websocket import WebSocket
from palaver.runtime.http.middleware import PROTECTING_HEADERS

HANDSHAKE_SECONDS = 10.0
VERSION = "13"
KEY_BYTES = 16
READ_BUFFER_BYTES = 2048

# What stands before the path in the absolute form of a target (RFC 9112 §3.2.2, RFC 6455 §4.2.1)
_ORIGIN = re.compile(r"^https?://[^/?]*", re.IGNORECASE)

# picows makes a child logger a connection of a Logger, and none of an adapter
_logger = logging.LoggerAdapter(logging.getLogger("picows"), {})


@dataclass(frozen=True, slots=True)
class HandshakeRequest:
    """An upgrade request. `headers`: names in lower case; the values of one name, joined by commas."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]
    address: str


# The WebSocket, or the HTTP response that refuses it. Raises nothing
Decide = Callable[[HandshakeRequest], Awaitable[WebSocket | bytes]]


class UpgradeProtocol(asyncio.Protocol):
    """Decides on one upgrade request, then hands the connection to picows, or refuses it."""

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
            self._task = asyncio.create_task(self._respond(data))
            return
        self._behind += data
        if len(self._behind) > self._most_bytes and self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client did not wait."""
        del exc
        if self._task is not None:
            self._task.cancel()

    async def _respond(self, head: bytes) -> None:
        transport = self._transport
        assert transport is not None
        request = read_request(head, transport)
        decision = await self._decide(request)
        if isinstance(decision, WebSocket):
            self._hand_over(transport, decision, canonical_head(request.headers.get("sec-websocket-key", "")))
        else:
            transport.write(decision)
            transport.close()

    def _hand_over(self, transport: asyncio.Transport, websocket: WebSocket, head: bytes) -> None:
        protocol = WSProtocol(
            None,
            None,
            False,
            lambda _request: websocket,
            _logger,
            True,
            HANDSHAKE_SECONDS,
            False,
            1.0,
            1.0,
            WSAutoPingStrategy.PING_WHEN_IDLE,
            # Pings are answered where what waits for the peer is counted
            False,
            self._most_bytes,
            None,
            READ_BUFFER_BYTES,
        )
        protocol.connection_made(websocket.attach(transport))
        transport.set_protocol(protocol)
        feed(protocol, head)
        feed(protocol, bytes(self._behind))


def feed(protocol: Any, data: bytes) -> None:
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
    target = _ORIGIN.sub("", line.split(" ")[1])
    path, _, query = target.partition("?")
    headers: dict[str, str] = {}
    for header in filter(None, rest):
        name, _, value = header.partition(":")
        before = headers.get(name.lower())
        headers[name.lower()] = value.strip() if before is None else f"{before}, {value.strip()}"
    peer = transport.get_extra_info("peername") or ("",)
    # Paths of REST are decoded as well: `%77s` is `ws` (RFC 3986 §6.2.2.2)
    return HandshakeRequest(unquote(path), dict(parse_qsl(query)), headers, str(peer[0]))


def check_handshake(headers: Mapping[str, str]) -> None:
    """Raises `upgrade_required` or `malformed` for what is no handshake of RFC 6455 §4.2.1.

    What an upgrade is has been checked before it came here.
    """
    if headers.get("sec-websocket-version") != VERSION:
        raise PalaverError(UPGRADE_REQUIRED, f"the version of WebSocket is {VERSION}")
    try:
        key = base64.b64decode(headers.get("sec-websocket-key", ""), validate=True)
    except (ValueError, binascii.Error):
        key = b""
    if len(key) != KEY_BYTES:
        raise PalaverError(MALFORMED, f"`Sec-WebSocket-Key` is {KEY_BYTES} bytes in base64")


def canonical_head(key: str) -> bytes:
    """A handshake in the one form that picows understands."""
    lines = (
        "GET / HTTP/1.1",
        "Host: gateway",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Version: {VERSION}",
        f"Sec-WebSocket-Key: {key}",
    )
    return "\r\n".join([*lines, "", ""]).encode()


def http_response(
    status: int, body: bytes, content_type: str, retry_after: float = 0.0, traceparent: str = ""
) -> bytes:
    """A whole HTTP/1.1 response that ends its connection."""
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        f"content-type: {content_type}",
        f"content-length: {len(body)}",
        "connection: close",
        *(f"{name.decode()}: {value.decode()}" for name, value in PROTECTING_HEADERS),
    ]
    if status == HTTPStatus.UPGRADE_REQUIRED:
        # RFC 6455 §4.4, RFC 9110 §7.8
        lines += ["connection: upgrade", "upgrade: websocket", f"sec-websocket-version: {VERSION}"]
    if retry_after:
        lines.append(f"retry-after: {math.ceil(retry_after)}")
    if traceparent:
        lines.append(f"traceresponse: {traceparent}")
    if status == 401:
        lines.append("www-authenticate: Bearer")
    return "\r\n".join([*lines, "", ""]).encode() + body
