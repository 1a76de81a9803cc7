"""What leaves for the messenger next."""

import asyncio
from collections import deque
from collections.abc import Iterable

from palaver.contracts.messenger_pb2 import GatewayBatch
from palaver.gateway.upstream.batches import split_batch
from palaver.runtime.grpc.message_stream import MessageStream


class Outbox:
    """The batch that gathers what one turn of the event loop sends. It is closed while no stream stands."""

    def __init__(self) -> None:
        self.is_open = False
        self._batch = GatewayBatch()
        # Batches that leave before it
        self._parts: deque[GatewayBatch] = deque()
        self._stream: MessageStream | None = None
        self._is_filled = False
        self._will_flush = False

    @property
    def batch(self) -> GatewayBatch:
        """What leaves next; call `wake` after adding to it. While the outbox is closed that is lost: it would
        only grow until the messenger is back (promise P9)."""
        return self._batch if self.is_open else GatewayBatch()

    def wake(self) -> None:
        """Lets the batch leave at the end of this turn of the event loop."""
        self._is_filled = self.is_open
        if self.is_open and not self._will_flush:
            self._will_flush = True
            # A callback, and not a task that waits: a message waits for no other turn
            asyncio.get_running_loop().call_soon(self._flush_turn)

    def open(self, stream: MessageStream, first: Iterable[GatewayBatch] = ()) -> None:
        """A stream stands; `first` leaves before all else. Whoever reads from it calls `flush` when it is
        writable again."""
        self._batch = GatewayBatch()
        self._parts = deque(first)
        self._stream = stream
        self._is_filled = False
        self.is_open = True
        self.flush()

    def close(self) -> None:
        """The stream is gone, and what had not left is lost."""
        self.is_open = False
        self._stream = None
        self._batch = GatewayBatch()
        self._parts.clear()

    def flush(self) -> None:
        """Writes what the stream takes."""
        stream = self._stream
        while stream is not None and (self._parts or self._is_filled) and stream.is_writable:
            if not self._parts:
                batch, self._batch = self._batch, GatewayBatch()
                self._is_filled = False
                self._parts.extend(split_batch(batch))
            stream.write(self._parts.popleft())

    def _flush_turn(self) -> None:
        self._will_flush = False
        self.flush()
