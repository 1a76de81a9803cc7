"""One HTTP connection without a network: bytes in, and the requests and responses that they lead to."""

import asyncio
from typing import Any

import httptools
import uvicorn
from starlette.types import Message, Receive, Scope, Send
from uvicorn.server import ServerState

from palaver.runtime.http.errors import render_wire_error
from palaver.runtime.http.middleware import ErrorBoundary
from palaver.runtime.http.protocol import HttpProtocol

KEEP_ALIVE_SECONDS = 75


class ReadResponse:
    """One response, as a client parses it."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.is_whole = False


def read_responses(written: bytes) -> list[ReadResponse]:
    """The responses in what a server wrote. Raises `AssertionError` where one is cut off."""
    found: list[ReadResponse] = []

    class Reader:
        def on_message_begin(self) -> None:
            found.append(ReadResponse())

        def on_header(self, name: bytes, value: bytes) -> None:
            found[-1].headers[name.decode().lower()] = value.decode()

        def on_headers_complete(self) -> None:
            found[-1].status = parser.get_status_code()

        def on_body(self, body: bytes) -> None:
            found[-1].body += body

        def on_message_complete(self) -> None:
            found[-1].is_whole = True

    parser = httptools.HttpResponseParser(Reader())
    parser.feed_data(written)
    assert all(one.is_whole for one in found), written
    return found


class HttpConnection(asyncio.Transport):
    """A client's connection to an application that notes requests and echoes their bodies.

    `requests`: method, path and body. `scopes`: all of each. `upgraded`: what the protocol got that took the
    connection over, head first. `unread`: bytes of responses that the client leaves unread.
    """

    def __init__(self, *, answers_early: bool = False) -> None:
        super().__init__()
        self.requests: list[tuple[str, str, bytes]] = []
        self.scopes: list[Scope] = []
        self.written = b""
        self.is_ended = self.is_gone = self.is_paused = False
        self.unread = 0
        self.upgraded: list[bytes] = []
        self._answers_early = answers_early
        config = uvicorn.Config(
            ErrorBoundary(self._serve, render_wire_error),
            loop="none",
            http=HttpProtocol,
            lifespan="off",
            log_config=None,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
        )
        config.load()
        config.ws_protocol_class = lambda **_: Upgraded(self.upgraded)  # type: ignore[assignment] # makes one
        self.protocol: Any = HttpProtocol(config, ServerState(), {})
        self._first = self.protocol
        self._first.connection_made(self)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        body, more = b"", not self._answers_early
        while more:
            message: Message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            more = message["more_body"]
        self.requests.append((scope["method"], scope["path"], body))
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def feed(self, *pieces: bytes) -> None:
        """Receives pieces, each in a turn of its own, until they have been dealt with."""
        for piece in pieces:
            if not self.is_gone:
                self.protocol.data_received(piece)
                await self.settle()
        for _ in range(10):
            await self.settle()

    async def settle(self) -> None:
        """Lets tasks take a step."""
        for _ in range(3):
            await asyncio.sleep(0)

    async def pass_seconds(self, seconds: int, *each: bytes) -> None:
        """So many sweeps; `each` is received before each of them."""
        for _ in range(seconds):
            for piece in each:
                if not self.is_gone:
                    self.protocol.data_received(piece)
            self._first.sweep()
            await self.settle()

    @property
    def statuses(self) -> list[int]:
        """Statuses of all responses."""
        return [one.status for one in self.responses()]

    def responses(self) -> list[ReadResponse]:
        """All responses. Raises `AssertionError` where one is cut off."""
        return read_responses(self.written)

    # ---- see `asyncio.Transport` ----

    def write(self, data: Any) -> None:
        """See `asyncio.Transport`."""
        assert not self.is_ended, f"written behind the end: {data!r}"
        self.written += data

    def write_eof(self) -> None:
        """See `asyncio.Transport`."""
        self.is_ended = True

    def close(self) -> None:
        """See `asyncio.Transport`."""
        if not self.is_gone:
            self.is_gone = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    abort = close

    def is_closing(self) -> bool:
        """See `asyncio.Transport`."""
        return self.is_gone

    def get_write_buffer_size(self) -> int:
        """See `asyncio.Transport`."""
        return self.unread

    def pause_reading(self) -> None:
        """See `asyncio.Transport`."""
        self.is_paused = True

    def resume_reading(self) -> None:
        """See `asyncio.Transport`."""
        self.is_paused = False

    def set_protocol(self, protocol: Any) -> None:
        """See `asyncio.Transport`."""
        self.protocol = protocol

    def get_protocol(self) -> Any:
        """See `asyncio.Transport`."""
        return self.protocol


class Upgraded(asyncio.Protocol):
    """Takes a connection over, and notes what it receives."""

    def __init__(self, received: list[bytes]) -> None:
        self._received = received

    def data_received(self, data: bytes) -> None:
        """The request's head, and what follows it."""
        self._received.append(data)
