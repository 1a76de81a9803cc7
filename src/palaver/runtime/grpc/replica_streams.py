"""Streams to one replica of a service at a time, and to another when that one dies, freezes or goes away."""

import asyncio
from collections.abc import Sequence
from functools import partial

import grpc

from palaver.runtime.grpc.call_stream import Decode
from palaver.runtime.grpc.http2_protocol import KeepAlive, be_patient
from palaver.runtime.grpc.statuses import rpc_error
from palaver.runtime.grpc.stream_client import ClientStream, StreamClient
from palaver.runtime.replicas.addresses import Address
from palaver.runtime.replicas.race import first_success
from palaver.runtime.replicas.replicas import Replicas

# Where another replica can take over, a silent one is left after 1.25 to 1.5 s: pinged every half second, it
# has a second to answer
QUICK = KeepAlive(0.25, 2, 6)
# While none can, it is given half a minute; pinged as often, since another one may be back at any time
PATIENT = KeepAlive(QUICK.tick_seconds, QUICK.ping_ticks, 100)
# A replica that has not answered for so long is not waited for alone
STAGGER_SECONDS = 0.25
# After so long all are tried anew: one that refused at first may be back, while others hang
ROUND_SECONDS = 2.0


class ReplicaStreams:
    """Opens streams to one method, each to the replica that is best at that time.

    A stream that ends is a failure of its replica, which then comes behind the others for a while.
    `target`: where the newest stream goes.
    """

    def __init__(
        self,
        replicas: Replicas,
        path: str,
        decode: Decode,
        most_bytes: int,
        metadata: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._replicas = replicas
        self._path = path
        self._decode = decode
        self._most_bytes = most_bytes
        self._metadata = metadata
        self._current: Address | None = None

    @property
    def target(self) -> str:
        """The replica that the newest stream goes to; empty: there was none."""
        return self._current.text if self._current is not None else ""

    async def open(self) -> ClientStream:
        """A stream to a replica that answers. The one before has ended. Raises `AioRpcError`."""
        left, self._current = self._current, None
        if left is not None:
            self._replicas.note_failure(left)
        order = await self._replicas.in_order()
        if not order:
            raise rpc_error(grpc.StatusCode.UNAVAILABLE, "no address is known")
        attempts = [partial(self._open_at, address) for address in order]
        try:
            async with asyncio.timeout(ROUND_SECONDS if len(order) > 1 else None):
                address, stream = await first_success(attempts, STAGGER_SECONDS, discard)
        except TimeoutError:
            raise rpc_error(grpc.StatusCode.UNAVAILABLE, f"none of {len(order)} answers") from None
        self._current = address
        self._replicas.note_success(address)
        return stream

    async def _open_at(self, address: Address) -> tuple[Address, ClientStream]:
        client = StreamClient(
            address.text,
            self._path,
            self._decode,
            self._most_bytes,
            self._metadata,
            authority=address.authority,
            keep_alive=partial(self._keep_alive, address),
        )
        try:
            return address, await client.open()
        except BaseException:
            # Cancelled, it was too slow: another one was quicker
            self._replicas.note_failure(address)
            raise

    def _keep_alive(self, address: Address) -> KeepAlive:
        if self._replicas.is_one:
            return be_patient()
        return QUICK if self._replicas.has_other(address) else PATIENT


def discard(opened: tuple[Address, ClientStream]) -> None:
    """Gives up a stream that another one was faster than."""
    opened[1].cancel()
