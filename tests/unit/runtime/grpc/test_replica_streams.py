"""Streams to one of several servers, of which some refuse, hang or go away."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from palaver.runtime.grpc import stream_client
from palaver.runtime.grpc.replica_streams import ReplicaStreams
from palaver.runtime.grpc.server import MESSAGE_BYTES
from palaver.runtime.replicas.replicas import Replicas
from tests.harness.stream_peers import HOST, PATH, Collector, our_server
from tests.harness.waiting import eventually

# Nobody listens there
REFUSED = f"{HOST}:9"


def streams_to(*targets: str) -> ReplicaStreams:
    """Streams to one of the targets."""
    return ReplicaStreams(Replicas(",".join(targets)), PATH, BytesValue.FromString, MESSAGE_BYTES)


@contextlib.asynccontextmanager
async def silent_server() -> AsyncIterator[str]:
    """The target of a server that takes connections, and says nothing."""
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, HOST, 0)
    try:
        yield f"{HOST}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def test_servers_that_refuse_or_hang_do_not_hold_up_the_one_that_answers() -> None:
    """A gateway would have no messenger as long as one of its list is away."""
    async with our_server() as server, silent_server() as silent:
        for _ in range(5):
            streams = streams_to(REFUSED, silent, f"{HOST}:{server.port}")
            stream = await asyncio.wait_for(streams.open(), 4)
            assert streams.target == f"{HOST}:{server.port}"
            peer = Collector(stream)
            peer.send(b"a")
            await eventually(lambda peer=peer: peer.received == [b"a"], "the echo")
            stream.cancel()


async def test_a_stream_that_ended_is_followed_by_one_to_another_server() -> None:
    """A gateway would come back to the messenger that has just sent it away."""
    async with our_server() as one, our_server() as other:
        streams = streams_to(f"{HOST}:{one.port}", f"{HOST}:{other.port}")
        first = await streams.open()
        target = streams.target
        first.cancel()
        second = await streams.open()
        assert streams.target != target
        second.cancel()


async def test_clients_spread_over_the_servers() -> None:
    """One messenger would serve all gateways, and the others none."""
    async with our_server() as one, our_server() as other:
        ports = (one.port, other.port)
        targets: Counter[str] = Counter()
        for _ in range(40):
            streams = streams_to(*(f"{HOST}:{port}" for port in ports))
            stream = await streams.open()
            targets[streams.target] += 1
            stream.cancel()
        assert len(targets) == 2


async def test_without_a_server_it_says_which_were_tried() -> None:
    """The log would not say why there is no stream."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await streams_to(REFUSED).open()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert REFUSED in (caught.value.details() or "")


async def test_a_server_that_goes_away_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream without an end would hold up a server's stop until that is killed."""
    monkeypatch.setattr(stream_client, "LEAVE_SECONDS", 0.01)
    async with our_server() as server:
        streams = streams_to(f"{HOST}:{server.port}")
        stream = await streams.open()
        Collector(stream).send(b"a")
        await eventually(lambda: server.calls and server.calls[0].received, "the call")
        # GOAWAY, and nothing else
        server.calls[0].stream._carrier.leave()  # type: ignore[attr-defined] # a server's connection
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asyncio.wait_for(stream.ended(), 5)
        assert "goes away" in (caught.value.details() or "")
        stream.cancel()
