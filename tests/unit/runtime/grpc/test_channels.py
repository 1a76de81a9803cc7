"""Unary calls over several servers, of which some die, freeze or come back."""

import asyncio
from collections import Counter
from typing import Any

import grpc
import grpc.aio
import pytest

from palaver.runtime.grpc.channels import ReplicaChannels
from palaver.runtime.grpc.server import serving_grpc
from palaver.runtime.replicas.replicas import Replicas
from tests.harness.tcp_proxy import HOST, tcp_proxy
from tests.harness.waiting import eventually

METHOD = "/test.Test/Name"


def naming(name: bytes) -> Any:
    """Adds a method that answers with a name."""

    async def answer(_request: bytes, _context: Any) -> bytes:
        return name

    def add(server: grpc.aio.Server) -> None:
        method = grpc.unary_unary_rpc_method_handler(answer)
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("test.Test", {"Name": method}),)
        )

    return add


def channels_to(*ports: int) -> ReplicaChannels:
    """Channels to servers, with the one method."""
    replicas = Replicas(",".join(f"{HOST}:{port}" for port in ports))
    return ReplicaChannels(replicas, lambda channel: channel.unary_unary(METHOD))


async def names(channels: ReplicaChannels, calls: int) -> Counter[bytes]:
    """Who answered so many calls."""
    found: Counter[bytes] = Counter()
    for _ in range(calls):
        replica = await channels.pick()
        assert replica is not None
        found[await replica.stub(b"", timeout=10)] += 1
        channels.note_success(replica)
    return found


async def both_answer(channels: ReplicaChannels) -> bool:
    """Whether calls go to both servers now."""
    return len(await names(channels, 10)) == 2


async def test_calls_spread_over_those_that_are_there() -> None:
    """One messenger would serve all requests, or every second one fail while another is away."""
    async with (
        serving_grpc(naming(b"one"), HOST, 0, 0.0) as (_, first),
        channels_to(first, 9) as alone,
    ):
        await eventually(lambda: is_answered_by(alone, b"one"), "the one that is there")
        async with (
            serving_grpc(naming(b"two"), HOST, 0, 0.0) as (_, second),
            channels_to(first, second) as channels,
        ):
            await eventually(lambda: both_answer(channels), "both")
            found = await names(channels, 200)
            assert min(found.values()) > 50


async def is_answered_by(channels: ReplicaChannels, name: bytes) -> bool:
    """Whether all calls are answered by one server."""
    try:
        return set(await names(channels, 10)) == {name}
    except grpc.aio.AioRpcError:
        return False


async def test_a_call_is_made_again_at_another_server() -> None:
    """A request would fail with its messenger, though others are there."""
    async with (
        serving_grpc(naming(b"one"), HOST, 0, 0.0) as (_, first),
        serving_grpc(naming(b"two"), HOST, 0, 0.0) as (_, second),
        channels_to(first, second) as channels,
    ):
        await eventually(lambda: both_answer(channels), "both")
        for _ in range(10):
            one = await channels.pick()
            assert one is not None
            other = await channels.pick_ready(one, 10)
            assert other.address != one.address


async def test_a_server_that_is_cut_off_ends_its_calls_at_once() -> None:
    """Each second request would hang for its whole deadline while one messenger is frozen."""
    async with (
        serving_grpc(naming(b"one"), HOST, 0, 0.0) as (_, port),
        tcp_proxy(port) as proxy,
        channels_to(proxy.port) as channels,
    ):
        assert await names(channels, 1) == {b"one": 1}
        proxy.cut = True
        replica = await channels.pick()
        assert replica is not None
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asyncio.wait_for(replica.stub(b"", timeout=60), 30)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_where_none_is_known_there_is_nothing_to_pick() -> None:
    """A name that DNS does not have yet would be an error of the gateway's own."""
    channels = ReplicaChannels(Replicas("no-such-host.invalid:1"), lambda channel: channel)
    assert await channels.pick() is None
    await channels.close()
