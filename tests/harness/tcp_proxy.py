"""A TCP proxy before a server of a test, whose connections can be cut as networks cut them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

HOST = "127.0.0.1"


class TcpProxy:
    """Passes bytes on. `cut`: it takes connections and bytes, passes nothing on, and closes nothing."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.port = 0
        self.cut = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves a connection until one side ends it."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        there: asyncio.StreamWriter | None = None
        try:
            server, there = await asyncio.open_connection(HOST, self._port)
            await asyncio.gather(self._pass_on(reader, there), self._pass_on(server, writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            for one in (writer, there):
                if one is not None:
                    one.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            if not self.cut:
                writer.write(data)
                await writer.drain()
        raise ConnectionResetError("one side has ended the connection")

    async def stop(self) -> None:
        """Ends all connections."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def tcp_proxy(port: int) -> AsyncIterator[TcpProxy]:
    """A proxy before a port of this machine, during the block."""
    proxy = TcpProxy(port)
    server = await asyncio.start_server(proxy.serve, HOST, 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.stop()
