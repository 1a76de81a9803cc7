"""Takes one gateway's batches, each behind the one before."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol

from palaver.contracts.messenger_pb2 import GatewayBatch
from palaver.messenger.realtime.gateway_connection import GatewayConnection
from palaver.messenger.stream.checks import check_batch
from palaver.runtime.grpc.message_stream import MessageStream


class BatchHandler(Protocol):
    """Does what batches ask for."""

    async def open_sockets(self, gateway: GatewayConnection, batch: GatewayBatch) -> None:
        """What must be done before the rest, and may take time."""
        ...

    def receive_batch(
        self, gateway: GatewayConnection, batch: GatewayBatch, tasks: set[asyncio.Task[None]]
    ) -> None:
        """The rest. `tasks`: gets what takes longer."""
        ...


class BatchReceiver:
    """A `StreamReceiver`. A batch that opens nothing is handled in the turn of the event loop in which it
    arrived; those behind one that does wait for it."""

    def __init__(self, handler: BatchHandler, gateway: GatewayConnection, stream: MessageStream) -> None:
        self._handler = handler
        self._gateway = gateway
        self._stream = stream
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_first = True

    def receive(self, batch: GatewayBatch) -> None:
        """See `StreamReceiver`. Raises `invalid`."""
        check_batch(batch, is_first=self._is_first)
        self._is_first = False
        if batch.opens or batch.reopened or batch.HasField("hello"):
            self._stream.pause_reading()
            start(self._open_sockets(batch), self._tasks)
        else:
            self._handler.receive_batch(self._gateway, batch, self._tasks)

    def resume_writing(self) -> None:
        """See `StreamReceiver`."""
        self._gateway.flush()

    def stop(self) -> None:
        """Ends what still goes on for the gateway."""
        for task in self._tasks:
            task.cancel()

    async def _open_sockets(self, batch: GatewayBatch) -> None:
        try:
            await self._handler.open_sockets(self._gateway, batch)
            self._handler.receive_batch(self._gateway, batch, self._tasks)
        except Exception as error:
            self._stream.finish(error)
        else:
            self._stream.resume_reading()


def start(work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
    """Starts work that ends with its stream."""
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
