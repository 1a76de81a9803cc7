"""HTTP servers."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp

from palaver.runtime.http.listener import Bounds, Listener
from palaver.runtime.http.protocol import HttpProtocol
from palaver.runtime.unix_sockets import listen_on_path, remove_socket

TICK_SECONDS = 1.0


class Server(uvicorn.Server):
    """uvicorn that accepts connections by a `Listener`, and sweeps them once a second.

    It leaves signals to the service, which stops its parts in order. `port`: where it listens.
    """

    port = 0
    bounds = Bounds()

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._leaving = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listens on the one socket."""
        await self.lifespan.startup()
        assert sockets is not None
        (listener,) = sockets
        self._listener = Listener(listener, self._make_protocol, self.bounds)
        self._listener.start()
        # uvicorn closes it, and waits for it
        self.servers = [cast(asyncio.base_events.Server, self._listener)]
        self.started = True

    def _make_protocol(self) -> HttpProtocol:
        return HttpProtocol(self.config, self.server_state, self.lifespan.state)

    def leave(self) -> None:
        """Ends `serve`, which drains before it returns."""
        self.should_exit = True
        self._leaving.set()

    async def main_loop(self) -> None:
        """Ticks once a second. uvicorn's own ticks are ten times as many, and an idle service would do little
        else."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_SECONDS):
                    await self._leaving.wait()

    async def on_tick(self, counter: int) -> bool:
        """Called once a second. uvicorn dates responses with a `counter` of whole tens."""
        for connection in list(self.server_state.connections):
            cast(HttpProtocol, connection).sweep()
        self._listener.sweep()
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures none."""
        yield


@contextlib.asynccontextmanager
async def serving_http(
    app: ASGIApp, host: str, port: int, *, path: str = "", bounds: Bounds | None = None, **options: Any
) -> AsyncIterator[Server]:
    """Serves `app` until the block ends, then drains. `path`: of a Unix socket, in place of host and port.

    Raises `OSError` where the port is taken.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        # A request must not begin with what the one before it on its connection has bound
        reset_contextvars=True,
        **{"loop": "none", "http": HttpProtocol, "ws": "none", "lifespan": "off", **options},
    )
    server = Server(config)
    if bounds is not None:
        server.bounds = bounds
    listener = listen_on_path(path) if path else config_socket(host, port)
    server.port = 0 if path else listener.getsockname()[1]
    task = asyncio.create_task(server.serve(sockets=[listener]), name="http")
    try:
        while not server.started:
            if task.done():
                await task
                raise RuntimeError("the HTTP server did not start")
            await asyncio.sleep(0.005)
        yield server
    finally:
        server.leave()
        await task
        if path:
            remove_socket(path)


def config_socket(host: str, port: int) -> Any:
    """A socket to listen on. Raises `OSError`; uvicorn by itself would exit the process instead."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener
