"""Services as they run, in the test's own process and on free ports, to be stopped and started."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import palaver.auth.bootstrap
import palaver.gateway.bootstrap
import palaver.messenger.bootstrap
from palaver.runtime.settings import Settings
from palaver.runtime.settings.auth import AuthSettings
from palaver.runtime.settings.gateway import GatewaySettings
from palaver.runtime.settings.messenger import MessengerSettings
from tests.harness.inside import SECRETS

LOOPBACK = "127.0.0.1"
STOP_SECONDS = 20.0


class Service:
    """One service. Its ports stay the same over a restart."""

    def __init__(self, serve: Callable[..., Awaitable[None]], settings: Settings) -> None:
        self._serve = serve
        self._settings = settings
        # Set as SIGTERM sets it
        self.stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> tuple[int, ...]:
        """Its ports, once it takes connections."""
        ready: asyncio.Future[tuple[int, ...]] = asyncio.get_running_loop().create_future()
        self.stopping = asyncio.Event()

        async def run() -> None:
            await self._serve(self._settings, self.stopping, lambda *ports: ready.set_result(ports))

        self._task = asyncio.create_task(run())
        await asyncio.wait((ready, self._task), return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            await self._task
        return ready.result()

    async def stop(self) -> None:
        """Stops it in order, and waits for it."""
        if self._task is not None:
            task, self._task = self._task, None
            self.stopping.set()
            await asyncio.wait_for(task, STOP_SECONDS)


@contextlib.asynccontextmanager
async def running_service(
    serve: Callable[..., Awaitable[None]], settings: Settings
) -> AsyncIterator[tuple[Service, tuple[int, ...]]]:
    """One service and its ports, for the block."""
    service = Service(serve, settings)
    ports = await service.start()
    try:
        yield service, ports
    finally:
        await service.stop()


class PalaverServices:
    """All three services. `base_url` and `ws_url`: the gateway's address, for `ApiClient`."""

    def __init__(self, directory: Path, **gateway: Any) -> None:
        cheap = AuthSettings(port=0, rates=False, argon2_time_cost=1, argon2_memory_kib=64)
        socket = str(directory / "stream.sock")
        messenger = MessengerSettings(
            host=LOOPBACK, http_port=0, grpc_port=0, stream_socket=socket, rates=False
        )
        mine = {"host": LOOPBACK, "port": 0, "private_port": 0, "rates": False}
        own = GatewaySettings(**{**mine, "messenger_stream": f"unix:{socket}", **gateway})
        self.settings = Settings(
            data_dir=directory, secret=SECRETS, auth=cheap, messenger=messenger, gateway=own
        )
        self.auth = Service(palaver.auth.bootstrap.serve, self.settings)
        self.messenger = Service(palaver.messenger.bootstrap.serve, self.settings)
        self.gateway = Service(palaver.gateway.bootstrap.serve, self.settings)
        self.base_url = self.ws_url = ""

    async def start(self) -> None:
        """Starts all, each with the addresses of the others."""
        auth, messenger, gateway = self.settings.auth, self.settings.messenger, self.settings.gateway
        (auth.port,) = await self.auth.start()
        messenger.auth_url = gateway.auth_url = f"http://{LOOPBACK}:{auth.port}"
        messenger.http_port, messenger.grpc_port = await self.messenger.start()
        gateway.messenger_url = f"http://{LOOPBACK}:{messenger.http_port}"
        gateway.messenger_target = f"{LOOPBACK}:{messenger.grpc_port}"
        gateway.port, gateway.private_port = await self.gateway.start()
        self.base_url = f"http://{LOOPBACK}:{gateway.port}"
        self.ws_url = f"ws://{LOOPBACK}:{gateway.port}"

    async def stop(self) -> None:
        """Stops what runs: who calls goes before who is called."""
        for service in (self.gateway, self.messenger, self.auth):
            await service.stop()


@contextlib.asynccontextmanager
async def running_services(directory: Path, **gateway: Any) -> AsyncIterator[PalaverServices]:
    """All three services, for the block."""
    services = PalaverServices(directory, **gateway)
    try:
        await services.start()
        yield services
    finally:
        await services.stop()
