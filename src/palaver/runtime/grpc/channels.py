"""One channel to each replica of a gRPC service, and which of them a call goes to."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio

from palaver.runtime.grpc.polling import reading_all_wake_ups
from palaver.runtime.replicas.addresses import Address
from palaver.runtime.replicas.replicas import Replicas

# Calls to a replica that DNS no longer names may end
CLOSE_SECONDS = 10.0
OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # One that froze, or was cut off, is noticed within two seconds of a call. gRPC's own threads answer, so a
    # busy event loop is not taken for a frozen one. By default a ping may take a minute, whatever keep-alive
    # says
    ("grpc.keepalive_time_ms", 1_000),
    ("grpc.keepalive_timeout_ms", 1_000),
    ("grpc.http2.ping_timeout_ms", 1_000),
    ("grpc.http2.max_pings_without_data", 0),
    # A page of long messages is larger than gRPC's 4 MiB, and both ends are ours
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # A proxy of the environment is for the outer world
    ("grpc.enable_http_proxy", 0),
)
_FAILED = (grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN)


def open_channel(address: Address) -> grpc.aio.Channel:
    """A long-lived channel to a replica. It connects, and connects again, by itself."""
    # A proxy in between knows the replica by its name
    authority = (("grpc.default_authority", address.authority),) if address.entry.host else ()
    with reading_all_wake_ups():
        return grpc.aio.insecure_channel(address.text, options=(*OPTIONS, *authority))


@dataclass(frozen=True, slots=True)
class ReplicaStub:
    """A replica, its channel, and the methods on it."""

    address: Address
    channel: grpc.aio.Channel
    stub: Any


class ReplicaChannels:
    """The channels to all replicas of a service. `make_stub`: the methods of a channel."""

    def __init__(self, replicas: Replicas, make_stub: Callable[[grpc.aio.Channel], Any]) -> None:
        self._replicas = replicas
        self._make_stub = make_stub
        self._open: dict[Address, ReplicaStub] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def pick(self, left: ReplicaStub | None = None) -> ReplicaStub | None:
        """The replica for a call: a random one of those that are connected, else one that may soon be.

        `left`: one that has just failed, which comes last. None: no address is known.
        """
        found = await self._in_order(left)
        for connected in (True, False):
            for one in found:
                # Those that are not needed now connect for the calls that come
                state = one.channel.get_state(try_to_connect=True)
                if state is grpc.ChannelConnectivity.READY or (not connected and state not in _FAILED):
                    return one
        return found[0] if found else None

    async def pick_ready(self, left: ReplicaStub, seconds: float) -> ReplicaStub:
        """The same for a call that is made again: waits until one is connected, but no longer than that."""
        found = await self._in_order(left)
        for one in found:
            if one.channel.get_state(try_to_connect=True) is grpc.ChannelConnectivity.READY:
                return one
        waiting = {asyncio.ensure_future(one.channel.channel_ready()): one for one in found}
        try:
            done, _ = await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        return waiting[done.pop()] if done else left

    def note_failure(self, one: ReplicaStub) -> None:
        """A call did not reach a replica, or its answer did not come."""
        self._replicas.note_failure(one.address)

    def note_success(self, one: ReplicaStub) -> None:
        """A call was answered."""
        self._replicas.note_success(one.address)

    async def close(self) -> None:
        """Closes all."""
        for one in self._open.values():
            await one.channel.close()
        self._open.clear()
        for task in self._closing:
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)

    async def __aenter__(self) -> "ReplicaChannels":
        """Itself: the channels are closed with the block."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Closes all."""
        await self.close()

    async def _in_order(self, left: ReplicaStub | None) -> list[ReplicaStub]:
        addresses = await self._replicas.in_order()
        for address in addresses:
            if address not in self._open:
                channel = open_channel(address)
                self._open[address] = ReplicaStub(address, channel, self._make_stub(channel))
        if len(self._open) > len(addresses):
            for address in self._open.keys() - set(addresses):
                self._close(self._open.pop(address))
        found = [self._open[address] for address in addresses]
        if left is not None and left in found:
            found.remove(left)
            found.append(left)
        return found

    def _close(self, gone: ReplicaStub) -> None:
        task = asyncio.ensure_future(gone.channel.close(CLOSE_SECONDS))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
