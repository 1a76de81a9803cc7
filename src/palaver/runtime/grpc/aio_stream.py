"""A stream of `grpc.aio` as a `MessageStream`: for clients that call the server of the unary calls."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from palaver.runtime.grpc.message_stream import MessageStream, StreamReceiver

Serve = Callable[[MessageStream], Awaitable[None]]


# A client that does not read keeps a call from ending for no longer
FLUSH_SECONDS = 2.0


class AioStream:
    """One call. Two tasks, and an await a message, stand between it and the network."""

    def __init__(self, requests: AsyncIterator[Any], context: Any) -> None:
        self._requests = requests
        self._context = context
        self._receiver: StreamReceiver | None = None
        self._reading = asyncio.Event()
        self._waiting: deque[Any] = deque()
        self._filled = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()
        self._ended = asyncio.Event()
        self._error: Exception | None = None
        # Nothing can be written any more
        self._is_broken = False

    @property
    def is_writable(self) -> bool:
        """See `MessageStream`."""
        return not self._waiting

    def write(self, message: Any) -> None:
        """See `MessageStream`."""
        if not self._is_broken:
            self._waiting.append(message)
            self._drained.clear()
            self._filled.set()

    def receive_with(self, receiver: StreamReceiver) -> None:
        """See `MessageStream`."""
        self._receiver = receiver
        self._reading.set()

    def pause_reading(self) -> None:
        """See `MessageStream`."""
        self._reading.clear()

    def resume_reading(self) -> None:
        """See `MessageStream`."""
        self._reading.set()

    def finish(self, error: Exception | None = None) -> None:
        """See `MessageStream`."""
        if not self._ended.is_set():
            self._error = error
            self._ended.set()

    def cancel(self) -> None:
        """See `MessageStream`."""
        self.finish()
        self._drop_waiting()

    async def ended(self) -> None:
        """See `MessageStream`."""
        await self._ended.wait()
        if self._error is not None:
            raise self._error

    async def run(self, serve: Serve) -> None:
        """Serves the call."""
        tasks = [asyncio.create_task(self._carry(work)) for work in (self._read, self._write)]
        try:
            await serve(self)
        finally:
            # gRPC sends no status while a message is being written: the call would never end
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_SECONDS):
                    await self._drained.wait()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _carry(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception as error:
            self.finish(error)
        self.finish()

    def _drop_waiting(self) -> None:
        self._is_broken = True
        self._waiting.clear()
        self._drained.set()

    async def _read(self) -> None:
        await self._reading.wait()
        async for message in self._requests:
            await self._reading.wait()
            if self._ended.is_set():
                return
            assert self._receiver is not None
            self._receiver.receive(message)
        # What was paused at the last message goes on to its end
        await self._reading.wait()

    async def _write(self) -> None:
        try:
            await self._write_waiting()
        finally:
            # Nothing takes what comes now
            self._drop_waiting()

    async def _write_waiting(self) -> None:
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._waiting:
                await self._context.write(self._waiting[0])
                if self._waiting:
                    self._waiting.popleft()
            self._drained.set()
            if self._receiver is not None:
                self._receiver.resume_writing()


def served_by_aio(serve: Serve) -> Callable[[AsyncIterator[Any], Any], Awaitable[None]]:
    """What `grpc.aio` calls for a stream that `serve` serves."""

    async def call(requests: AsyncIterator[Any], context: Any) -> None:
        await AioStream(requests, context).run(serve)

    return call
