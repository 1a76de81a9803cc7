"""The stream between a gateway and a messenger without a network: a test decides what breaks, and when.

`MemoryChannel` stands in the place of the gateway's gRPC channel. What is written is serialised, as on a
network, and lies in transit until the other end reads it: a test can stall a direction, and break the stream,
which loses all that lies there.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc.aio

from palaver.contracts.messenger_pb2 import GatewayBatch, MessengerBatch

Attach = Callable[[AsyncIterator[GatewayBatch], Any], Awaitable[None]]


class Transit:
    """One direction of a stream."""

    def __init__(self) -> None:
        self.stalled = False
        self.ended = False
        self.broken = False
        self._batches: deque[bytes] = deque()
        self._changed = asyncio.Event()

    def put(self, batch: Any) -> None:
        """Writes a batch. Raises `InvalidStateError` where the stream is broken, as gRPC does."""
        if self.broken or self.ended:
            raise asyncio.InvalidStateError("the stream is broken")
        self._batches.append(batch.SerializeToString())
        self._changed.set()

    async def take(self) -> bytes | None:
        """The next batch; None behind the last one. Raises `InvalidStateError` where the stream breaks."""
        while True:
            if self.broken:
                raise asyncio.InvalidStateError("the stream broke")
            if not self.stalled:
                if self._batches:
                    return self._batches.popleft()
                if self.ended:
                    return None
            self._changed.clear()
            await self._changed.wait()

    def change(self, **states: bool) -> None:
        """Sets `stalled`, `ended` or `broken`."""
        for name, state in states.items():
            setattr(self, name, state)
        self._changed.set()

    def __len__(self) -> int:
        return len(self._batches)


class MemoryStream:
    """One `Attach` call, as the link sees it."""

    def __init__(self, channel: "MemoryChannel") -> None:
        self._channel = channel
        self.up = Transit()
        self.down = Transit()
        self._server: asyncio.Task[None] | None = None

    async def wait_for_connection(self) -> None:
        """Calls the messenger, if one is there."""
        await asyncio.sleep(0)
        if self._channel.attach is None:
            raise asyncio.InvalidStateError("no messenger")
        self._server = asyncio.create_task(self._serve(self._channel.attach))
        self._channel.stream = self

    async def _serve(self, attach: Attach) -> None:
        try:
            await attach(self._requests(), Context(self.down))
        finally:
            self.down.change(ended=True)

    async def _requests(self) -> AsyncIterator[GatewayBatch]:
        while (raw := await self.up.take()) is not None:
            yield GatewayBatch.FromString(raw)

    async def write(self, batch: GatewayBatch) -> None:
        """The link writes."""
        self.up.put(batch)
        await asyncio.sleep(0)

    async def read(self) -> Any:
        """The link reads."""
        raw = await self.down.take()
        return grpc.aio.EOF if raw is None else MessengerBatch.FromString(raw)

    def cancel(self) -> None:
        """The link, or the network, gives the stream up. What is in transit is lost."""
        self.up.change(broken=True)
        self.down.change(broken=True)
        if self._server is not None:
            self._server.cancel()

    async def gone(self) -> None:
        """Waits until the messenger's end has noticed."""
        if self._server is not None:
            await asyncio.wait([self._server])


class Context:
    """What the messenger writes its answers to."""

    def __init__(self, down: Transit) -> None:
        self._down = down

    async def write(self, batch: MessengerBatch) -> None:
        """The messenger writes."""
        self._down.put(batch)
        await asyncio.sleep(0)


class MemoryChannel:
    """Leads to `attach` of a replica, or, where that is None, nowhere."""

    def __init__(self, attach: Attach | None) -> None:
        self.attach = attach
        self.stream: MemoryStream | None = None

    def stream_stream(self, _path: str, **_: Any) -> Callable[..., MemoryStream]:
        """See `grpc.aio.Channel`."""
        return lambda **_: MemoryStream(self)

    def unary_unary(self, _path: str, **_: Any) -> None:
        """See `grpc.aio.Channel`: sockets make no unary call."""

    def break_stream(self, attach: Attach | None) -> None:
        """Breaks the stream; the next one leads to `attach`."""
        self.attach = attach
        if self.stream is not None:
            self.stream.cancel()
            self.stream = None
