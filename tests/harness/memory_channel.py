"""The stream between a gateway and a messenger without a network: a test decides what breaks, and when.

`MemoryChannel` stands in the place of the gateway's `StreamClient`. What is written is serialised, as on a
network, and lies in transit until the other end reads it: a test can stall a direction, and break the stream,
which loses all that lies there.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from palaver.contracts.messenger_pb2 import GatewayBatch, MessengerBatch
from palaver.runtime.grpc.message_stream import MessageStream, StreamReceiver

Attach = Callable[[MessageStream], Awaitable[None]]


class Transit:
    """One direction of a stream, to an end that decodes it."""

    def __init__(self, decode: Callable[[bytes], Any]) -> None:
        self.stalled = False
        self.ended = False
        self.broken = False
        self.receiver: StreamReceiver | None = None
        self.paused = False
        self.finished = asyncio.Event()
        self.error: Exception | None = None
        self._decode = decode
        self._batches: deque[bytes] = deque()
        self._will_deliver = False

    def put(self, batch: Any) -> None:
        """Writes a batch."""
        if not self.broken and not self.ended:
            self._batches.append(batch.SerializeToString())
            self.schedule()

    def schedule(self) -> None:
        """Delivers what can be delivered, in the next turn of the event loop."""
        if not self._will_deliver:
            self._will_deliver = True
            asyncio.get_running_loop().call_soon(self._deliver)

    def change(self, **states: bool) -> None:
        """Sets `stalled`, `ended` or `broken`."""
        for name, state in states.items():
            setattr(self, name, state)
        if self.broken:
            self.finish(asyncio.InvalidStateError("the stream broke"))
        self.schedule()

    def finish(self, error: Exception | None = None) -> None:
        """Nothing is delivered any more."""
        if not self.finished.is_set():
            self.error = error
            self.finished.set()

    def _deliver(self) -> None:
        self._will_deliver = False
        while self._batches and not (self.stalled or self.paused or self.finished.is_set()):
            if self.receiver is None:
                return
            try:
                self.receiver.receive(self._decode(self._batches.popleft()))
            except Exception as error:
                self.finish(error)
        if self.ended and not self._batches:
            self.finish()

    def __len__(self) -> int:
        return len(self._batches)


class MemoryEnd:
    """One end: a `MessageStream`."""

    def __init__(self, out: Transit, incoming: Transit, cancel: Callable[[], None]) -> None:
        self.is_writable = True
        self._out = out
        self._in = incoming
        self.cancel = cancel
        self.finish = incoming.finish

    @property
    def has_ended(self) -> bool:
        """Whether nothing comes any more."""
        return self._in.finished.is_set()

    def write(self, batch: Any) -> None:
        """See `MessageStream`."""
        self._out.put(batch)

    def receive_with(self, receiver: StreamReceiver) -> None:
        """See `MessageStream`."""
        self._in.receiver = receiver
        self._in.schedule()

    def pause_reading(self) -> None:
        """See `MessageStream`."""
        self._in.paused = True

    def resume_reading(self) -> None:
        """See `MessageStream`."""
        self._in.paused = False
        self._in.schedule()

    async def ended(self) -> None:
        """See `MessageStream`."""
        await self._in.finished.wait()
        if self._in.error is not None:
            raise self._in.error


class MemoryStream:
    """One stream, between two ends."""

    def __init__(self, attach: Attach) -> None:
        self.up = Transit(GatewayBatch.FromString)
        self.down = Transit(MessengerBatch.FromString)
        self.gateway = MemoryEnd(self.up, self.down, self.cancel)
        self._messenger = MemoryEnd(self.down, self.up, self.cancel)
        self._server = asyncio.create_task(self._serve(attach))

    async def _serve(self, attach: Attach) -> None:
        try:
            await attach(self._messenger)
        finally:
            self.up.finish()
            self.down.change(ended=True)

    def cancel(self) -> None:
        """An end, or the network, gives the stream up. What is in transit is lost."""
        self.up.change(broken=True)
        self.down.change(broken=True)
        self._server.cancel()

    async def gone(self) -> None:
        """Waits until the messenger's end has noticed."""
        await asyncio.wait([self._server])


class MemoryChannel:
    """Leads to `attach` of a replica, or, where that is None, nowhere."""

    target = "memory"

    def __init__(self, attach: Attach | None) -> None:
        self.attach = attach
        self.stream: MemoryStream | None = None

    async def open(self) -> MessageStream:
        """See `StreamClient`."""
        await asyncio.sleep(0)
        if self.attach is None:
            raise asyncio.InvalidStateError("no messenger")
        self.stream = MemoryStream(self.attach)
        return self.stream.gateway

    def break_stream(self, attach: Attach | None) -> None:
        """Breaks the stream; the next one leads to `attach`."""
        self.attach = attach
        if self.stream is not None:
            self.stream.cancel()
            self.stream = None
