"""A messenger as it runs: real gRPC, a real journal file, real tokens."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from palaver.contracts.errors import PalaverError
from palaver.contracts.ids import new_id
from palaver.contracts.messenger_pb2_grpc import MessengerStub
from palaver.messenger.bootstrap import serve
from palaver.runtime.grpc.server import MESSAGE_BYTES, error_from_rpc
from palaver.runtime.settings import MessengerSettings, Settings
from tests.harness.stub_auth import FakeAuth


@dataclass
class Messenger:
    """A running messenger, and whom it asks."""

    auth: FakeAuth
    settings: Settings
    http_port: int
    grpc_port: int
    channel: grpc.aio.Channel
    # Where it runs in the test's own process
    stopping: asyncio.Event | None = None
    service: "asyncio.Task[None] | None" = None
    tokens: dict[bytes, str] = field(default_factory=dict)

    async def call(self, user_id: bytes, method: str, request: Any, **metadata: str) -> Any:
        """What a unary call of the user's answers. Raises the `PalaverError` that was meant."""
        token = self.tokens.setdefault(user_id, self.auth.token(user_id))
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

    async def refusal(self, user_id: bytes, method: str, request: Any) -> PalaverError:
        """The error that a unary call of the user's must end with."""
        with pytest.raises(PalaverError) as caught:
            await self.call(user_id, method, request)
        return caught.value


@contextlib.asynccontextmanager
async def running_messenger(auth: FakeAuth, directory: Path, **settings: Any) -> AsyncIterator[Messenger]:
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
