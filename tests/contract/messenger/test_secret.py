"""The messenger's gRPC to callers that do not belong to the deployment, and its health and reflection."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc.aio
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from palaver.contracts import messenger_pb2 as pb
from palaver.messenger.authentication import SERVICE
from palaver.runtime.unix_sockets import SCHEME
from tests.harness.fake_auth import running_fake_auth
from tests.harness.inside import METADATA, InsideChannel
from tests.harness.messenger_service import Messenger, running_messenger

METHODS = [f"{SERVICE}/{method.name}" for method in pb.DESCRIPTOR.services_by_name["Messenger"].methods]
OTHERS = [
    "grpc.health.v1.Health/Check",
    "grpc.health.v1.Health/Watch",
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    "palaver.v1.Messenger/NoSuchMethod",
]
STREAMS = ("Attach", "ServerReflectionInfo")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def messenger(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Messenger]:
    """One for all tests."""
    directory = tmp_path_factory.mktemp("messenger")
    async with running_fake_auth() as auth, running_messenger(auth, directory) as found:
        yield found


async def status_of(channel: grpc.aio.Channel | InsideChannel, method: str, raw: bytes) -> grpc.StatusCode:
    """The status with which a call of raw bytes ends."""
    try:
        if method.rpartition("/")[2] in STREAMS:
            stream = channel.stream_stream(f"/{method}", None, None)(timeout=10)
            await stream.write(raw)
            await stream.done_writing()
            while await stream.read() is not grpc.aio.EOF:
                pass
            return await stream.code()
        await channel.unary_unary(f"/{method}", None, None)(raw, timeout=10)
    except grpc.aio.AioRpcError as error:
        return error.code()
    except asyncio.InvalidStateError:
        return await stream.code()
    return grpc.StatusCode.OK


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("method", [*METHODS, *OTHERS])
async def test_without_the_secret_every_method_refuses(messenger: Messenger, method: str) -> None:
    """Whoever reaches the port could see who talks to whom, by InspectMessage, without any token."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{messenger.grpc_port}") as channel:
        for raw in (b"", b"\xff" * 10):
            assert await status_of(channel, method, raw) is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("method", [*METHODS, *OTHERS[:3]])
async def test_undecodable_bytes_are_invalid(messenger: Messenger, method: str) -> None:
    """gRPC calls them a fault of the server, so that an alert would wake somebody for a caller's mistake."""
    for raw in (b"\xff", b"\x0a\xff", b"\x0b" * 200, b"\x0a\x02\xc3\x28"):
        found = await status_of(messenger.channel, method, raw)
        assert found not in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN), raw
        if raw != b"\x0a\x02\xc3\x28":
            # The last is one where the first field is bytes, and a text that is no UTF-8 where it is text
            assert found is grpc.StatusCode.INVALID_ARGUMENT, raw


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("service", ["", SERVICE])
async def test_the_standard_health_service_tells_that_it_serves(messenger: Messenger, service: str) -> None:
    """A probe that speaks grpc.health.v1 would take a messenger that works for a dead one."""
    check = messenger.channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        health_pb2.HealthCheckRequest.SerializeToString,
        health_pb2.HealthCheckResponse.FromString,
    )
    found = await check(health_pb2.HealthCheckRequest(service=service), timeout=10)
    assert found.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.asyncio(loop_scope="module")
async def test_reflection_names_the_services_and_their_methods(messenger: Messenger) -> None:
    """An operator with grpcurl would need our source to make a call."""
    ask = messenger.channel.stream_stream(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )
    stream = ask(timeout=10)
    await stream.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    listed = await stream.read()
    await stream.write(reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE))
    described = await stream.read()
    await stream.done_writing()
    assert {one.name for one in listed.list_services_response.service} == {
        SERVICE,
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    (file,) = described.file_descriptor_response.file_descriptor_proto
    assert b"InspectMessage" in file


async def test_health_tells_that_the_journal_cannot_be_used(tmp_path: Path) -> None:
    """A balancer would send calls to a messenger that can't answer them."""
    async with running_fake_auth() as auth:
        # Its keys were never heard
        auth.away = True
        async with running_messenger(auth, tmp_path) as messenger:
            check = messenger.channel.unary_unary(
                "/grpc.health.v1.Health/Check", None, health_pb2.HealthCheckResponse.FromString
            )
            assert (await check(b"", timeout=10)).status == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_a_unix_socket_serves_in_the_ports_place(tmp_path: Path) -> None:
    """`palaver up` would leave gRPC on a port that every user of the machine can reach."""
    path = tmp_path / "messenger.sock"
    async with running_fake_auth() as auth:
        async with running_messenger(auth, tmp_path, grpc_socket=str(path)) as messenger:
            assert messenger.grpc_port == 0
            async with InsideChannel(f"{SCHEME}{path}") as channel:
                method = f"{SERVICE}/InspectMessage"
                assert await status_of(channel, method, b"") is grpc.StatusCode.INVALID_ARGUMENT
            async with grpc.aio.insecure_channel(f"{SCHEME}{path}") as channel:
                assert await status_of(channel, method, b"") is grpc.StatusCode.UNAUTHENTICATED
            with pytest.raises(OSError, match="in use"):
                async with running_messenger(auth, tmp_path / "two", grpc_socket=str(path)):
                    pass
        assert not path.exists()


def test_metadata_is_what_the_contract_says() -> None:
    """Programs of others that follow the contract would be refused."""
    proto = (Path(__file__).parents[3] / "proto" / "palaver" / "v1" / "messenger.proto").read_text()
    assert f"metadata `{METADATA[0][0]}`" in proto
