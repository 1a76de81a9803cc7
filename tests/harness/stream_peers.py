"""Both ends of a bidirectional gRPC stream of `BytesValue`, of ours and of grpcio."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
from google.protobuf.wrappers_pb2 import BytesValue

from palaver.runtime.grpc.message_stream import MessageStream
from palaver.runtime.grpc.server import MESSAGE_BYTES, serving_grpc
from palaver.runtime.grpc.stream_client import ClientStream, StreamClient
from palaver.runtime.grpc.stream_server import Methods, StreamMethod, admit_all, serving_streams

PATH = "/test.Test/Stream"
HOST = "127.0.0.1"


class Collector:
    """A receiver that keeps what comes, and sends what it is given when the stream takes it."""

    def __init__(self, stream: MessageStream, *, echoes: bool = False) -> None:
        self.stream = stream
        self.received: list[bytes] = []
        self.resumed = 0
        self.unsent: list[bytes] = []
        self.echoes = echoes
        self.fails: Exception | None = None
        stream.receive_with(self)

    def receive(self, message: BytesValue) -> None:
        """See `StreamReceiver`."""
        if self.fails is not None:
            raise self.fails
        self.received.append(message.value)
        if self.echoes:
            self.send(message.value)

    def resume_writing(self) -> None:
        """See `StreamReceiver`."""
        self.resumed += 1
        while self.unsent and self.stream.is_writable:
            self.stream.write(BytesValue(value=self.unsent.pop(0)))

    def send(self, *values: bytes) -> None:
        """Sends, at once or when there is room."""
        self.unsent += values
        while self.unsent and self.stream.is_writable:
            self.stream.write(BytesValue(value=self.unsent.pop(0)))


class NotedStream:
    """A `MessageStream` that keeps what is written, and takes more while `is_writable`."""

    def __init__(self, *, is_writable: bool = True) -> None:
        self.written: list[Any] = []
        self.is_writable = is_writable
        self.receiver: Any = None

    def write(self, message: Any) -> None:
        """See `MessageStream`."""
        self.written.append(message)

    def receive_with(self, receiver: Any) -> None:
        """See `MessageStream`."""
        self.receiver = receiver

    def pause_reading(self) -> None:
        """See `MessageStream`: nothing comes."""

    def resume_reading(self) -> None:
        """See `MessageStream`: nothing comes."""

    def finish(self, error: Exception | None = None) -> None:
        """See `MessageStream`: nothing comes."""

    def cancel(self) -> None:
        """See `MessageStream`: nothing waits."""

    async def ended(self) -> None:
        """See `MessageStream`: it never does."""
        await asyncio.Event().wait()


class OurServer:
    """What a server of ours has: its calls in their order. `error`: what the next ones end with."""

    def __init__(self) -> None:
        self.calls: list[Collector] = []
        self.ended = 0
        self.echoes = True
        self.error: Exception | None = None
        self.port = 0

    async def serve(self, stream: MessageStream) -> None:
        """Serves a call."""
        call = Collector(stream, echoes=self.echoes)
        self.calls.append(call)
        try:
            if self.error is not None:
                raise self.error
            await stream.ended()
        finally:
            self.ended += 1


@contextlib.asynccontextmanager
async def our_server(admit: Any = admit_all, path: str = "") -> AsyncIterator[OurServer]:
    """A server of ours during the block."""
    server = OurServer()
    methods = Methods({PATH: StreamMethod(server.serve, BytesValue.FromString)}, admit)
    async with serving_streams(methods, HOST, 0, 0.0, path=path) as port:
        server.port = port
        yield server


@contextlib.asynccontextmanager
async def grpcio_client(port: int, **options: Any) -> AsyncIterator[Any]:
    """The method as grpcio calls it."""
    given = [("grpc.use_local_subchannel_pool", 1), *options.pop("options", [])]
    async with grpc.aio.insecure_channel(f"{HOST}:{port}", given, **options) as channel:
        yield channel.stream_stream(PATH, BytesValue.SerializeToString, BytesValue.FromString)


@contextlib.asynccontextmanager
async def grpcio_server(handler: Any, **options: Any) -> AsyncIterator[int]:
    """grpcio's server of the method during the block; yields its port."""

    def add(server: grpc.aio.Server) -> None:
        method = grpc.stream_stream_rpc_method_handler(
            handler, BytesValue.FromString, BytesValue.SerializeToString
        )
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("test.Test", {"Stream": method}),)
        )

    async with serving_grpc(add, HOST, 0, 0.0, **options) as (_, port):
        yield port


@contextlib.asynccontextmanager
async def our_call(target: str, path: str = PATH, **options: Any) -> AsyncIterator[ClientStream]:
    """A call of ours during the block."""
    client = StreamClient(target, path, BytesValue.FromString, MESSAGE_BYTES, **options)
    stream = await client.open()
    try:
        yield stream
    finally:
        stream.cancel()
        await asyncio.sleep(0)
