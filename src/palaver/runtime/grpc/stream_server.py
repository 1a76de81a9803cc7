"""The server's end of bidirectional gRPC methods, read and written in the event loop's own turn."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import grpc

from palaver.contracts.errors import PalaverError
from palaver.runtime.deployment_secret import HEADER, DeploymentSecret
from palaver.runtime.grpc.call_stream import CallStream, Decode
from palaver.runtime.grpc.http2.events import Event, HeadersReceived, StreamReset
from palaver.runtime.grpc.http2.frames import ErrorCode, Http2Error
from palaver.runtime.grpc.http2.header_blocks import Headers
from palaver.runtime.grpc.http2_protocol import Http2Protocol
from palaver.runtime.grpc.interceptors import MESSAGE
from palaver.runtime.grpc.message_stream import MessageStream
from palaver.runtime.grpc.messages import StatusError
from palaver.runtime.grpc.server import MESSAGE_BYTES
from palaver.runtime.grpc.statuses import trailers_of
from palaver.runtime.telemetry.configuration import log
from palaver.runtime.unix_sockets import listen_on_path, remove_socket

CONTENT_TYPE = b"application/grpc"
HEAD: Headers = [(b":status", b"200"), (b"content-type", CONTENT_TYPE)]
# Far more than there are gateways; nobody has shown the secret yet
MOST_CONNECTIONS = 1_000
# A connection without a call is closed after so many ticks
UNUSED_TICKS = 6
# How long closed connections may take to be gone
CLOSE_SECONDS = 1.0


class StreamMethod(NamedTuple):
    """A method. `serve` runs as long as the call; what it raises is what the call ends with."""

    serve: Callable[[MessageStream], Awaitable[None]]
    decode: Decode


# Raises the error of the catalogue for a call whose metadata are not accepted
Admit = Callable[[Mapping[str, str]], None]


def admit_all(_: Mapping[str, str]) -> None:
    """Accepts all."""


def requiring(secret: DeploymentSecret) -> Admit:
    """Accepts calls with the deployment's secret. The others' end is as `SecretInterceptor` ends them."""

    def admit(metadata: Mapping[str, str]) -> None:
        if not secret.accepts(metadata.get(HEADER, "").encode()):
            raise StatusError(grpc.StatusCode.UNAUTHENTICATED, MESSAGE)

    return admit


class Methods(NamedTuple):
    """What is served: methods by their paths, to calls that `admit` lets pass."""

    by_path: Mapping[str, StreamMethod]
    admit: Admit = admit_all


class ServerConnection(Http2Protocol):
    """One client's connection."""

    def __init__(self, methods: Methods, connections: set["ServerConnection"]) -> None:
        super().__init__(is_client=False)
        self.tasks: set[asyncio.Task[None]] = set()
        self._methods = methods
        self._connections = connections
        connections.add(self)
        self._unused_ticks = 0

    def connection_made(self, transport: Any) -> None:
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        if len(self._connections) > MOST_CONNECTIONS:
            log.warning("too_many_grpc_connections", connections=MOST_CONNECTIONS)
            self.abort()

    def connection_lost(self, _: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._connections.discard(self)
        # That a client goes is no error
        super().connection_lost(None)

    def tick(self) -> None:
        """See `Http2Protocol`."""
        self._unused_ticks = 0 if self.calls else self._unused_ticks + 1
        if self._unused_ticks >= UNUSED_TICKS:
            self.close()

    def leave(self) -> None:
        """Takes no more calls."""
        self._http2.leave()
        self.flush()

    def handle(self, event: Event) -> None:
        """See `Http2Protocol`."""
        if isinstance(event, HeadersReceived):
            call = self.calls.get(event.stream_id)
            if call is None:
                self._begin(event)
            elif event.ends:
                call.end_peer_side()
        elif isinstance(event, StreamReset):
            call = self.calls.pop(event.stream_id, None)
            if call is not None:
                call.finish()

    def _begin(self, event: HeadersReceived) -> None:
        stream_id = event.stream_id
        try:
            request = read_request(event.headers)
            if request.refusal:
                self._http2.send_trailers(stream_id, [(b":status", request.refusal)])
                return
            self._methods.admit(request.metadata)
            method = self._methods.by_path.get(request.path)
            if method is None:
                raise StatusError(grpc.StatusCode.UNIMPLEMENTED, "no such method here")
        except Http2Error as error:
            self._http2.reset_stream(stream_id, error.code)
        except (StatusError, PalaverError) as error:
            self._http2.send_trailers(stream_id, [*HEAD, *trailers_of(error)])
        else:
            self._http2.send_headers(stream_id, HEAD)
            call = self.calls[stream_id] = CallStream(self, stream_id, method.decode, MESSAGE_BYTES)
            if event.ends:
                call.end_peer_side()
            task = asyncio.create_task(self._serve(call, method))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def _serve(self, call: CallStream, method: StreamMethod) -> None:
        error: BaseException | None = None
        try:
            await method.serve(call)
        except asyncio.CancelledError:
            error = StatusError(grpc.StatusCode.CANCELLED, "the server stops")
            raise
        except Exception as caught:
            error = caught
        finally:
            call.finish()
            if self.calls.pop(call.stream_id, None) is not None:
                self._http2.send_trailers(call.stream_id, trailers_of(error))
                self.flush()


class Request(NamedTuple):
    """What a head asks for. `refusal`: the HTTP status of one that is not gRPC."""

    path: str
    metadata: dict[str, str]
    refusal: bytes = b""


def read_request(headers: Headers) -> Request:
    """A request's head. Raises `Http2Error` for one that is malformed (RFC 9113, section 8.3)."""
    pseudo: dict[bytes, bytes] = {}
    metadata: dict[str, str] = {}
    for name, value in headers:
        if name != name.lower() or (name.startswith(b":") and (metadata or name in pseudo)):
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "headers that are malformed")
        if name.startswith(b":"):
            pseudo[name] = value
        else:
            metadata[name.decode("latin-1")] = value.decode("latin-1")
    method, path = pseudo.get(b":method"), pseudo.get(b":path")
    if method is None or path is None or b":scheme" not in pseudo:
        raise Http2Error(ErrorCode.PROTOCOL_ERROR, "headers that are missing")
    refusal = b""
    kind = metadata.get("content-type", "").encode("latin-1")
    if method != b"POST":
        refusal = b"405"
    elif kind != CONTENT_TYPE and not kind.startswith((CONTENT_TYPE + b"+", CONTENT_TYPE + b";")):
        refusal = b"415"
    return Request(path.decode("latin-1"), metadata, refusal)


@contextlib.asynccontextmanager
async def serving_streams(
    methods: Methods, host: str, port: int, grace: float, *, path: str = ""
) -> AsyncIterator[int]:
    """Serves until the block ends, then waits `grace` seconds for calls. Yields the port, for port 0.

    `path`: of a Unix socket, in place of host and port. Raises `OSError` where the address is taken.
    """
    loop = asyncio.get_running_loop()
    connections: set[ServerConnection] = set()

    def connection() -> ServerConnection:
        return ServerConnection(methods, connections)

    if path:
        server = await loop.create_unix_server(connection, sock=listen_on_path(path))
    else:
        server = await loop.create_server(connection, host, port)
    try:
        yield 0 if path else server.sockets[0].getsockname()[1]
    finally:
        server.close()
        if path:
            remove_socket(path)
        await close_connections(connections, grace)


async def close_connections(connections: set[ServerConnection], grace: float) -> None:
    """Lets calls end for `grace` seconds, then ends them, and closes the connections."""
    for connection in connections:
        connection.leave()
    tasks = [task for connection in connections for task in connection.tasks]
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=grace)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
    closing = list(connections)
    for connection in closing:
        connection.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            for connection in closing:
                await connection.closed.wait()
    for connection in list(connections):
        connection.abort()
