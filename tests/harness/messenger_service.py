"""A messenger as it runs: real gRPC, a real journal file, real tokens."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from palaver.contracts.errors import PalaverError, WireError, error_from_wire
from palaver.contracts.ids import new_id
from palaver.contracts.messenger_pb2 import (
    AttachHello,
    GatewayBatch,
    ListMessagesRequest,
    MessagePage,
    ReadReply,
    ReadRequest,
)
from palaver.contracts.messenger_pb2_grpc import MessengerStub
from palaver.messenger.bootstrap import serve
from palaver.runtime.grpc.errors import error_from_rpc
from palaver.runtime.grpc.server import MESSAGE_BYTES
from palaver.runtime.settings import MessengerSettings, Settings
from tests.harness.stub_auth import SmallAuth

READ_SECONDS = 10.0


@dataclass
class Messenger:
    """A running messenger, and whom it asks."""

    auth: SmallAuth
    settings: Settings
    http_port: int
    grpc_port: int
    channel: grpc.aio.Channel
    # Where it runs in the test's own process
    stopping: asyncio.Event | None = None
    service: "asyncio.Task[None] | None" = None
    tokens: dict[bytes, str] = field(default_factory=dict)

    async def call(self, user_id: bytes, method: str, request: Any, **metadata: str) -> Any:
        """What a call of the user's answers; pages of messages are read by a stream, as gateways do.

        Raises the `PalaverError` that was meant.
        """
        token = self.tokens.setdefault(user_id, self.auth.token(user_id))
        if isinstance(request, ListMessagesRequest):
            return await self.read_page(token, request, metadata.get("traceparent", ""))
        return await self.call_with(
            (("authorization", f"Bearer {token}"), *metadata.items()), method, request
        )

    async def call_with(self, metadata: tuple[tuple[str, str], ...], method: str, request: Any) -> Any:
        """The same with any metadata."""
        stub = MessengerStub(self.channel)  # type: ignore[no-untyped-call] # generated without types
        try:
            return await getattr(stub, method)(request, timeout=10, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise error_from_rpc(error) from error

    async def read_page(self, token: str, request: ListMessagesRequest, traceparent: str = "") -> MessagePage:
        """A page of messages, read by a stream of its own. Raises the `PalaverError` that was meant."""
        reply = await self.read_reply(token, request, traceparent)
        if reply.HasField("page"):
            return reply.page
        error = reply.error
        raise error_from_wire(WireError(error.code, error.message, error.field, error.retry_after))

    async def read_reply(self, token: str, request: ListMessagesRequest, traceparent: str = "") -> ReadReply:
        """What a stream of its own answers to one read."""
        stub = MessengerStub(self.channel)  # type: ignore[no-untyped-call] # generated without types
        stream = stub.Attach()
        read = ReadRequest(number=1, token=token, list_messages=request, traceparent=traceparent)
        await stream.write(GatewayBatch(hello=AttachHello(gateway_id="reader"), reopened=True, reads=[read]))
        try:
            async with asyncio.timeout(READ_SECONDS):
                while (batch := await stream.read()) is not grpc.aio.EOF:
                    for reply in batch.read_replies:
                        assert isinstance(reply, ReadReply)
                        return reply
        finally:
            stream.cancel()
        raise AssertionError("the stream ended without a page")

    async def refusal(self, user_id: bytes, method: str, request: Any) -> PalaverError:
        """The error that a unary call of the user's must end with."""
        with pytest.raises(PalaverError) as caught:
            await self.call(user_id, method, request)
        return caught.value


@contextlib.asynccontextmanager
async def running_messenger(auth: SmallAuth, directory: Path, **settings: Any) -> AsyncIterator[Messenger]:
    """Runs a messenger on free ports during the block."""
    given = {"http_port": 0, "grpc_port": 0, "auth_url": auth.url, "rates": False, **settings}
    own = MessengerSettings(**given)
    whole = Settings(data_dir=directory, messenger=own)
    ports: asyncio.Future[tuple[int, int]] = asyncio.get_running_loop().create_future()
    stopping = asyncio.Event()
    service = asyncio.create_task(serve(whole, stopping, lambda *found: ports.set_result(found)))
    try:
        await asyncio.wait((service, ports), return_when=asyncio.FIRST_COMPLETED)
        if service.done():
            service.result()
        http_port, grpc_port = ports.result()
        options = [("grpc.max_receive_message_length", MESSAGE_BYTES)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{grpc_port}", options) as channel:
            yield Messenger(auth, whole, http_port, grpc_port, channel, stopping, service)
    finally:
        stopping.set()
        await service


def client_ids(count: int) -> list[bytes]:
    """As many new client ids."""
    return [new_id() for _ in range(count)]


async def eventually(condition: Callable[[], Awaitable[bool]], what: str, seconds: float = 10.0) -> None:
    """Returns once `condition()` is true. Fails after `seconds`, saying what was waited for."""
    end = asyncio.get_running_loop().time() + seconds
    while not await condition():
        if asyncio.get_running_loop().time() > end:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        await asyncio.sleep(0.01)
