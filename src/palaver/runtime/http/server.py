"""HTTP servers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from palaver.runtime.unix_sockets import listen_on_path, remove_socket


class Server(uvicorn.Server):
    """uvicorn that leaves signals to the service, which stops its parts in order.

    `port`: where it listens.
    """

    port = 0

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures none."""
        yield


@contextlib.asynccontextmanager
async def serving_http(
    app: ASGIApp, host: str, port: int, *, path: str = "", **options: Any
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
        **{"loop": "none", "http": "httptools", "ws": "none", "lifespan": "off", **options},
    )
    server = Server(config)
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
        server.should_exit = True
        await task
        if path:
            remove_socket(path)


def config_socket(host: str, port: int) -> Any:
    """A listening socket. Raises `OSError`; uvicorn by itself would exit the process instead."""
    import socket

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
