"""How many connections are accepted, and who loses one."""

import asyncio
import contextlib
import resource
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
import uvloop
from starlette.types import Receive, Scope, Send

from palaver.runtime.http.listener import OPEN, REFUSED, Bounds
from palaver.runtime.http.server import Server, serving_http
from tests.harness.waiting import eventually

RUNS = [asyncio.run, uvloop.run]
REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def respond(_scope: Scope, _receive: Receive, send: Send) -> None:
    """An empty response."""
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


class Client:
    """A connection that says nothing by itself."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def is_served(self) -> bool:
        """Whether a request is answered; False: the connection ended."""
        with contextlib.suppress(ConnectionError):
            self.writer.write(REQUEST)
            async with asyncio.timeout(5):
                return (await self.reader.read(100)).startswith(b"HTTP/1.1 204")
        return False

    async def is_closed(self) -> bool:
        """Waits for the end of the connection."""
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(5):
                return await self.reader.read(1) == b""
        return True

    async def close(self) -> None:
        """Drops the connection."""
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


class Clients:
    """Connections to one server, from addresses of this machine."""

    def __init__(self, server: Server, stack: contextlib.AsyncExitStack) -> None:
        self.port = server.port
        self._stack = stack

    async def connect(self, address: str = "127.0.0.1") -> Client:
        """One more."""
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port, local_addr=(address, 0)))
        self._stack.push_async_callback(client.close)
        return client


def run_with_clients(
    run: Callable[..., None], bounds: Bounds, scenario: Callable[[Clients], Coroutine[Any, Any, None]]
) -> None:
    """Runs a scenario on a server within bounds."""

    # Other tests of this process may have servers that live longer
    before = OPEN._value.get()

    async def serve() -> None:
        async with (
            serving_http(respond, "127.0.0.1", 0, bounds=bounds) as server,
            contextlib.AsyncExitStack() as stack,
        ):
            await scenario(Clients(server, stack))
        assert OPEN._value.get() == before

    run(serve())


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("bounds", [Bounds(per_address=3), Bounds(total=3)])
def test_silent_connections_make_room_for_others(run: Callable[..., None], bounds: Bounds) -> None:
    """Who opens connections and says nothing would shut the door for everybody."""

    async def scenario(clients: Clients) -> None:
        silent = [await clients.connect() for _ in range(3)]
        for number in range(3):
            assert await (await clients.connect()).is_served()
            assert await silent[number].is_closed()

    run_with_clients(run, bounds, scenario)


@pytest.mark.parametrize("run", RUNS)
def test_an_address_has_a_bound_that_others_do_not_feel(run: Callable[..., None]) -> None:
    """One client could take every connection that there is."""

    async def scenario(clients: Clients) -> None:
        busy = [await clients.connect() for _ in range(2)]
        assert all([await one.is_served() for one in busy])
        assert not await (await clients.connect()).is_served()
        assert await (await clients.connect("127.0.0.2")).is_served()
        proxied = [await clients.connect("127.0.0.3") for _ in range(5)]
        assert all([await one.is_served() for one in proxied])
        before = OPEN._value.get()
        await busy[0].close()
        await eventually(lambda: OPEN._value.get() < before, "the server closes it too")
        assert await (await clients.connect()).is_served()

    bounds = Bounds(per_address=2, is_exempt="127.0.0.3".__eq__)
    run_with_clients(run, bounds, scenario)


@pytest.mark.parametrize("run", RUNS)
def test_all_connections_have_a_bound(run: Callable[..., None]) -> None:
    """Many addresses together could take all of a process's memory."""

    async def scenario(clients: Clients) -> None:
        before = REFUSED.labels("total")._value.get()
        busy = [await clients.connect(f"127.0.0.{number}") for number in (4, 5)]
        assert all([await one.is_served() for one in busy])
        assert not await (await clients.connect("127.0.0.6")).is_served()
        assert all([await one.is_served() for one in busy])
        assert REFUSED.labels("total")._value.get() == before + 1

    run_with_clients(run, Bounds(total=2), scenario)


@pytest.mark.parametrize("run", RUNS)
def test_the_door_opens_again_when_descriptors_are_back(run: Callable[..., None]) -> None:
    """A moment without descriptors would end a server for good, or make it spin."""

    async def scenario(clients: Clients) -> None:
        loop = asyncio.get_running_loop()
        before = REFUSED.labels("files")._value.get()
        with socket.socket() as client, few_files(client.fileno() + 1):
            client.setblocking(False)
            await loop.sock_connect(client, ("127.0.0.1", clients.port))
            await eventually(lambda: REFUSED.labels("files")._value.get() > before, "none is left")
            began = time.process_time()
            await asyncio.sleep(0.5)
            assert time.process_time() - began < 0.25
            assert REFUSED.labels("files")._value.get() == before + 1
            resource.setrlimit(resource.RLIMIT_NOFILE, resource.getrlimit(resource.RLIMIT_NOFILE)[1:] * 2)
            await loop.sock_sendall(client, REQUEST)
            async with asyncio.timeout(5):
                assert (await loop.sock_recv(client, 100)).startswith(b"HTTP/1.1 204")

    run_with_clients(run, Bounds(), scenario)


@contextlib.contextmanager
def few_files(soft: int) -> Iterator[None]:
    """A soft limit of open files, for the block."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
