"""A gateway's end of `Attach`, which writes what a test decides, and records what a replica sends."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from palaver.contracts.ids import new_id
from palaver.contracts.messenger_pb2 import Delivery, GatewayBatch, MessengerBatch
from tests.harness.keys import Keys
from tests.harness.memory_channel import MemoryStream
from tests.harness.realtime import Replica
from tests.harness.waiting import eventually


class GatewayStream:
    """One stream. `batches`: all that came."""

    def __init__(self, stream: MemoryStream, keys: Keys) -> None:
        self.stream = stream
        self.batches: list[MessengerBatch] = []
        self._keys = keys
        self._number = 0
        stream.gateway.receive_with(self)

    def receive(self, batch: MessengerBatch) -> None:
        """See `StreamReceiver`."""
        self.batches.append(batch)

    def resume_writing(self) -> None:
        """See `StreamReceiver`: memory takes everything."""

    @property
    def ended(self) -> bool:
        """Whether the messenger has ended the stream."""
        return self.stream.gateway.has_ended

    def write(self, **fields: Any) -> None:
        """Writes a batch."""
        self.stream.gateway.write(GatewayBatch(**fields))

    async def open(self, user_id: bytes, *, opened_at: int = 0, implicit: bool = False) -> int:
        """Opens a socket of a user. Returns its number when the messenger has it."""
        self._number += 1
        number = self._number
        self.write(opens=[self.opening(number, user_id, opened_at, implicit=implicit)])
        await eventually(lambda: any(o.socket == number for o in self.all("opened")), "opened")
        return number

    def opening(
        self, number: int, user_id: bytes, opened_at: int = 0, *, implicit: bool = False
    ) -> dict[str, Any]:
        """A `SocketOpen`."""
        return {
            "socket": number,
            "token": self._keys.token(user_id),
            "opened_at": opened_at,
            "implicit_receipts": implicit,
        }

    def send(
        self,
        socket: int,
        chat_id: bytes,
        *texts: str,
        request: int = 1,
        client_ids: list[bytes] | None = None,
        retry: bool = False,
        traceparent: str = "",
    ) -> list[bytes]:
        """Sends messages. Returns their client ids."""
        client_ids = client_ids or [new_id() for _ in texts]
        send = {
            "socket": socket,
            "request": request,
            "chat_id": chat_id,
            "client_ids": client_ids,
            "texts": texts,
            "retry": retry,
            "traceparent": traceparent,
        }
        self.write(sends=[send])
        return client_ids

    def all(self, field: str) -> list[Any]:
        """All that came in a field of the batches."""
        return [one for batch in self.batches for one in getattr(batch, field)]

    @property
    def followed(self) -> dict[int, int]:
        """How far the gateway has followed the commit log."""
        return {one.writer: one.number for one in self.all("followed")}

    @property
    def has_caught_up(self) -> bool:
        """Whether a batch said how far the gateway has followed."""
        return any(batch.followed for batch in self.batches)

    def deliveries_to(self, socket: int) -> list[Delivery]:
        """The deliveries that a socket is named in."""
        return [delivery for delivery in self.all("deliveries") if socket in delivery.sockets]

    def seqs(self, socket: int) -> list[int]:
        """The seqs of the messages that a socket received."""
        return [
            delivery.first_seq + index
            for delivery in self.deliveries_to(socket)
            if not delivery.changed
            for index in range(len(delivery.ids))
        ]


@contextlib.asynccontextmanager
async def gateway_stream(
    replica: Replica,
    keys: Keys,
    *,
    followed: dict[int, int] | None = None,
    opens: list[Any] | None = None,
    **first: Any,
) -> AsyncIterator[GatewayStream]:
    """A gateway's stream during the block. `followed`, `opens` and what else its first batch says are as
    after a broken stream."""
    stream = MemoryStream(replica.attach)
    one = GatewayStream(stream, keys)
    opens = [one.opening(*opening) for opening in opens or []]
    positions = [{"writer": writer, "number": number} for writer, number in (followed or {}).items()]
    one.write(hello={"gateway_id": "gateway", "followed": positions}, opens=opens, reopened=True, **first)
    try:
        yield one
    finally:
        stream.cancel()
        await stream.gone()
