"""What leaves for the messenger next."""

import asyncio

from palaver.contracts.messenger_pb2 import GatewayBatch


class Outbox:
    """The batch that gathers what one turn of the event loop sends. It is closed while no stream stands."""

    def __init__(self) -> None:
        self.is_open = False
        self._batch = GatewayBatch()
        self._filled = asyncio.Event()

    @property
    def batch(self) -> GatewayBatch:
        """What leaves next; call `wake` after adding to it. While the outbox is closed that is lost: it would
        only grow until the messenger is back (promise P9)."""
        return self._batch if self.is_open else GatewayBatch()

    def wake(self) -> None:
        """Lets the batch leave at the end of this turn of the event loop."""
        self._filled.set()

    def open(self) -> None:
        """A stream stands."""
        self._batch = GatewayBatch()
        self._filled.clear()
        self.is_open = True

    def close(self) -> None:
        """The stream is gone, and what had not left is lost."""
        self.is_open = False
        self._batch = GatewayBatch()

    async def take(self) -> GatewayBatch:
        """The next batch, once somebody has called `wake`."""
        await self._filled.wait()
        self._filled.clear()
        batch, self._batch = self._batch, GatewayBatch()
        return batch
