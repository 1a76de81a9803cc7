"""The client's end of one bidirectional gRPC method, read and written in the event loop's own turn."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import grpc
import grpc.aio
from hpack import NeverIndexedHeaderTuple

from palaver.runtime.grpc.call_stream import CallStream, Decode
from palaver.runtime.grpc.http2.events import (
    Event,
    HeadersReceived,
    PeerLeaving,
    SettingsReceived,
    StreamReset,
)
from palaver.runtime.grpc.http2.header_blocks import Headers
from palaver.runtime.grpc.http2_protocol import Http2Protocol, KeepAlive, be_patient
from palaver.runtime.grpc.statuses import error_of_http, error_of_reset, error_of_trailers, rpc_error
from palaver.runtime.unix_sockets import SCHEME

CONNECT_SECONDS = 5.0
# What a server that goes away may still say on a call
LEAVE_SECONDS = 0.5
CONTENT_TYPE = b"application/grpc"


class ClientStream(CallStream):
    """A call, on a connection of its own."""

    def __init__(
        self, connection: "ClientConnection", stream_id: int, decode: Decode, most_bytes: int
    ) -> None:
        super().__init__(connection, stream_id, decode, most_bytes)
        self._connection = connection

    def end_peer_side(self) -> None:
        """See `CallStream`. A server ends a call by its trailers."""
        self.finish(rpc_error(grpc.StatusCode.INTERNAL, "the call ended without a status"))

    def cancel(self) -> None:
        """See `MessageStream`. Closes the connection."""
        super().cancel()
        self._connection.close()


class ClientConnection(Http2Protocol):
    """A connection with one call."""

    def __init__(self, keep_alive: Callable[[], KeepAlive]) -> None:
        super().__init__(is_client=True, keep_alive=keep_alive)
        self._ready = asyncio.Event()
        self._head_came = False

    async def ready(self) -> None:
        """Waits until the peer has shown that it speaks HTTP/2. Raises `AioRpcError`."""
        lost = asyncio.ensure_future(self.closed.wait())
        ready = asyncio.ensure_future(self._ready.wait())
        try:
            await asyncio.wait((lost, ready), return_when=asyncio.FIRST_COMPLETED)
        finally:
            lost.cancel()
            ready.cancel()
        if not self._ready.is_set():
            raise rpc_error(grpc.StatusCode.UNAVAILABLE, "the connection was closed")

    def call(self, headers: Headers, decode: Decode, most_bytes: int) -> ClientStream:
        """Begins the call. Raises `AioRpcError`."""
        stream_id = self._http2.open_stream(headers)
        if stream_id is None:
            raise rpc_error(grpc.StatusCode.UNAVAILABLE, "the server takes no streams")
        call = ClientStream(self, stream_id, decode, most_bytes)
        self.calls[stream_id] = call
        self.flush()
        return call

    def handle(self, event: Event) -> None:
        """See `Http2Protocol`."""
        if isinstance(event, SettingsReceived):
            self._ready.set()
        elif isinstance(event, HeadersReceived):
            self._receive_headers(event)
        elif isinstance(event, StreamReset):
            self._finish(event.stream_id, error_of_reset(event.code))
        elif isinstance(event, PeerLeaving):
            self._receive_leave(event)

    def finish_calls(self, error: Exception | None) -> None:
        """See `Http2Protocol`."""
        cause = str(error) if error is not None else "the connection was closed"
        super().finish_calls(rpc_error(grpc.StatusCode.UNAVAILABLE, cause))

    def _receive_headers(self, event: HeadersReceived) -> None:
        values = dict(event.headers)
        status = values.get(b":status", b"")
        if status.startswith(b"1"):
            return
        if event.ends and (b"grpc-status" in values or self._head_came):
            self._finish(event.stream_id, error_of_trailers(event.headers))
        elif status != b"200" or not values.get(b"content-type", b"").startswith(CONTENT_TYPE):
            self._finish(event.stream_id, error_of_http(status))
            self.close()
        self._head_came = True

    def _receive_leave(self, event: PeerLeaving) -> None:
        leaving = rpc_error(grpc.StatusCode.UNAVAILABLE, "the server goes away")
        for stream_id in list(self.calls):
            if stream_id > event.last_stream_id:
                self._finish(stream_id, leaving)
            else:
                # A stream has no end of its own: it would hold the server up until that is killed
                self._loop.call_later(LEAVE_SECONDS, self._finish, stream_id, leaving)

    def _finish(self, stream_id: int, error: Exception | None) -> None:
        call = self.calls.pop(stream_id, None)
        if call is not None:
            call.finish(error)


class StreamClient:
    """Opens streams to one method of a server.

    `target` is `host:port`, or `unix:` and a path. `metadata` is sent with each call. `authority`: what a
    proxy in between knows the server by; empty: the target. `keep_alive` is asked while a stream stands.
    """

    def __init__(
        self,
        target: str,
        path: str,
        decode: Decode,
        most_bytes: int,
        metadata: Sequence[tuple[str, str]] = (),
        *,
        authority: str = "",
        keep_alive: Callable[[], KeepAlive] = be_patient,
    ) -> None:
        self.target = target
        self._keep_alive = keep_alive
        self._decode = decode
        self._most_bytes = most_bytes
        self._headers: Headers = [
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", path.encode()),
            (b":authority", b"localhost" if target.startswith(SCHEME) else (authority or target).encode()),
            (b"te", b"trailers"),
            (b"content-type", CONTENT_TYPE),
            # Never in a table that a proxy keeps: one of them is a secret
            *(NeverIndexedHeaderTuple(name.encode(), value.encode()) for name, value in metadata),
        ]

    async def open(self) -> ClientStream:
        """Connects, and begins a call. Raises `AioRpcError`."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, connection = await connect(self.target, self._keep_alive)
        except TimeoutError:
            raise rpc_error(grpc.StatusCode.UNAVAILABLE, f"no connection to {self.target}") from None
        except OSError as error:
            raise rpc_error(grpc.StatusCode.UNAVAILABLE, f"no connection to {self.target}: {error}") from None
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await connection.ready()
            return connection.call(self._headers, self._decode, self._most_bytes)
        except TimeoutError:
            connection.abort()
            raise rpc_error(grpc.StatusCode.UNAVAILABLE, f"{self.target} does not answer") from None
        except BaseException:
            connection.abort()
            raise


async def connect(target: str, keep_alive: Callable[[], KeepAlive]) -> tuple[Any, ClientConnection]:
    """A connection to `host:port`, or to `unix:path`. Raises `OSError`."""
    loop = asyncio.get_running_loop()
    make = partial(ClientConnection, keep_alive)
    if target.startswith(SCHEME):
        return await loop.create_unix_connection(make, target.removeprefix(SCHEME))
    host, _, port = target.removeprefix("dns:///").rpartition(":")
    return await loop.create_connection(make, host.strip("[]"), int(port))
