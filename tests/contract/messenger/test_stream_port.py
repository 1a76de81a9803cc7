"""The port of the gateways' streams, as grpcio and as a gateway see it."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from palaver.contracts.errors import INVALID, MALFORMED, PalaverError
from palaver.contracts.messenger_methods import ATTACH
from palaver.contracts.messenger_pb2 import GatewayBatch, MessengerBatch
from palaver.runtime.grpc.errors import error_from_rpc
from palaver.runtime.grpc.server import MESSAGE_BYTES
from palaver.runtime.grpc.stream_client import StreamClient
from tests.harness.fake_auth import running_fake_auth
from tests.harness.inside import METADATA, InsideChannel
from tests.harness.messenger_service import Messenger, running_messenger
from tests.harness.stream_peers import Collector
from tests.harness.waiting import eventually

HELLO = {"hello": {"gateway_id": "a"}, "reopened": True}


async def end_of(channel: Any, *raws: bytes) -> PalaverError:
    """The error that a stream of these bytes ends with."""
    call = channel.stream_stream(ATTACH, None, MessengerBatch.FromString)(timeout=20)
    for raw in raws:
        await call.write(raw)

    async def read() -> None:
        while await call.read() is not grpc.aio.EOF:
            pass

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await read()
    return error_from_rpc(caught.value)


async def test_only_who_has_the_secret_gets_a_stream(tmp_path: Path) -> None:
    """Who is no part of the deployment would read everybody's messages."""
    path = f"unix:{tmp_path / 's'}"
    async with running_fake_auth() as auth, running_messenger(auth, tmp_path, stream_socket=path[5:]):
        for metadata in ((), ((METADATA[0][0], "wrong"),), ((METADATA[0][0], ""),)):
            client = StreamClient(path, ATTACH, MessengerBatch.FromString, MESSAGE_BYTES, metadata)
            stream = await client.open()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await asyncio.wait_for(stream.ended(), 10)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            stream.cancel()
        # Methods that are not served here are not told apart without it
        async with grpc.aio.insecure_channel(path) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary("/palaver.v1.Messenger/GetChat")(b"")
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_grpcio_and_a_gateway_of_ours_are_served_alike(tmp_path: Path) -> None:
    """A gateway of another version could not attach."""
    path = f"unix:{tmp_path / 's'}"
    async with (
        running_fake_auth() as auth,
        running_messenger(auth, tmp_path, stream_socket=path[5:]) as messenger,
    ):
        await attach_by_grpcio(InsideChannel(path), messenger)
        await attach_by_grpcio(messenger.channel, messenger)
        for target in (path, f"127.0.0.1:{messenger.grpc_port}"):
            client = StreamClient(target, ATTACH, MessengerBatch.FromString, MESSAGE_BYTES, METADATA)
            stream = await client.open()
            token = auth.token(auth.sign_up("Bob"))
            batches = Batches(stream)
            stream.write(GatewayBatch(opens=[{"socket": 7, "token": token}], **HELLO))
            await eventually(lambda batches=batches: batches.opened == [7], "opened")
            stream.cancel()


async def attach_by_grpcio(channel: Any, messenger: Messenger) -> None:
    """Opens a socket by grpcio's client."""
    token = messenger.auth.token(messenger.auth.sign_up("Alice"))
    async with channel:
        call = channel.stream_stream(ATTACH, GatewayBatch.SerializeToString, MessengerBatch.FromString)()
        await call.write(GatewayBatch(opens=[{"socket": 3, "token": token}], **HELLO))
        # All that it will ever say: the answer comes nevertheless
        await call.done_writing()
        batch = await asyncio.wait_for(call.read(), 10)
        assert [(opened.socket, opened.error) for opened in batch.opened] == [(3, "")]
        assert await asyncio.wait_for(call.code(), 10) is grpc.StatusCode.OK


class Batches(Collector):
    """Notes the sockets that were opened."""

    def __init__(self, stream: Any) -> None:
        self.opened: list[int] = []
        super().__init__(stream)

    def receive(self, batch: Any) -> None:
        """See `StreamReceiver`."""
        self.opened += [opened.socket for opened in batch.opened]


async def test_what_no_gateway_sends_ends_the_stream_with_its_error(tmp_path: Path) -> None:
    """A gateway that has gone mad would be taken for a messenger that has failed."""
    path = f"unix:{tmp_path / 's'}"
    hello = GatewayBatch(**HELLO).SerializeToString()
    async with (
        running_fake_auth() as auth,
        running_messenger(auth, tmp_path, stream_socket=path[5:]),
        InsideChannel(path) as channel,
    ):
        assert (await end_of(channel, b"\xff\xff")).kind is MALFORMED
        error = await end_of(channel, hello, hello)
        assert (error.kind, error.field) == (INVALID, "hello")
