"""A messenger as it runs: real gRPC, a real journal file, real tokens."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
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
from palaver.runtime.settings import Settings
from palaver.runtime.settings.archive import ArchiveSettings
from palaver.runtime.settings.messenger import MessengerSettings
from tests.harness.fake_auth import FakeAuth
from tests.harness.inside import SECRETS, InsideChannel
from tests.harness.services import Service, running_service

READ_SECONDS = 10.0


@dataclass
class Messenger:
    """A running messenger, and its auth. `service`: where it runs in the test's own process."""

    auth: FakeAuth
    settings: Settings
    http_port: int
    grpc_port: int
    channel: InsideChannel
    service: Service | None = None
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
        """The reply to a call with any metadata."""
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
        """The error that a unary call of a user must end with."""
        with pytest.raises(PalaverError) as caught:
            await self.call(user_id, method, request)
        return caught.value


@contextlib.asynccontextmanager
async def running_messenger(
    auth: FakeAuth, directory: Path, archive: ArchiveSettings | None = None, **settings: Any
) -> AsyncIterator[Messenger]:
    """Runs a messenger on free ports during the block."""
    given = {"http_port": 0, "grpc_port": 0, "auth_url": auth.url, "rates": False, **settings}
    whole = Settings(
        data_dir=directory,
        secret=SECRETS,
        messenger=MessengerSettings(**given),
        archive=archive or ArchiveSettings(),
    )
    async with (
        running_service(serve, whole) as (service, (http_port, grpc_port)),
        open_channel(grpc_port) as channel,
    ):
        yield Messenger(auth, whole, http_port, grpc_port, channel, service)


def open_channel(grpc_port: int) -> InsideChannel:
    """A channel with the secret, that takes messages as large as the messenger's."""
    return InsideChannel(f"127.0.0.1:{grpc_port}", [("grpc.max_receive_message_length", MESSAGE_BYTES)])


def client_ids(count: int) -> list[bytes]:
    """As many new client ids."""
    return [new_id() for _ in range(count)]
