"""HTTP/1.1 on one connection: uvicorn's protocol, less what it believes, and with bounds on what it reads.

llhttp ends a request that offers an upgrade at its head, whether it has a body or not, and would parse the
body as the next request. `docs/decisions/0013` says why offers are answered as they are here.
"""

import asyncio
import re
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from palaver.contracts.errors import HEAD_TOO_LARGE, MALFORMED, REQUEST_TIMEOUT, PalaverError
from palaver.runtime.http.errors import REFUSAL
from palaver.runtime.http.request_head import Headers, asks_for_websocket, check_head, without_framing

HEAD_BYTES = 32 * 1024
# Read at a time, so that what is beyond a bound is noticed before much of it is in memory
PIECE_BYTES = 16 * 1024
HEAD_SECONDS = 10
# In each such time a body brings so many bytes a second, or its end. A mobile client loses its network for
# some seconds and goes on
BODY_SECONDS = 20
BODY_BYTES_PER_SECOND = 256
# How long what follows a refusal is read and dropped: a client that still writes would lose the response to
# a reset (RFC 9112 §9.6)
LINGER_SECONDS = 2
# How long the rest of a body is dropped whose request has been answered
DRAIN_SECONDS = 30
# How long a client may read nothing of a response
STALLED_SECONDS = 60

_PATH = re.compile(rb"/[!-~]*")
_PATH_BYTES = 1_024


class HttpProtocol(HttpToolsProtocol):
    """One connection. `sweep` is called once a second, in place of timers for each request."""

    def __init__(self, config: Any, server_state: Any, app_state: Any, _loop: Any = None) -> None:
        super().__init__(config, server_state, app_state, _loop)
        # As they are before a head has begun
        self.url, self.headers = b"", []
        # Whether the next byte belongs to a head, and whether a part of that head has come
        self._reads_head = True
        self._has_begun = False
        # Bytes since a whole head, a piece of a body or the end of a message; whether one came just now
        self._unhanded = 0
        self._has_advanced = False
        # Why nothing is read any more
        self._refusal: PalaverError | None = None
        # Who has the connection after an upgrade
        self._successor: asyncio.Protocol | None = None
        # Since the phase began that `sweep` watches
        self._seconds = 0
        self._body_bytes = 0
        self._unsent = self._stalled = 0

    @property
    def is_silent(self) -> bool:
        """Whether it has not sent a whole head yet."""
        return self._is_new and self._successor is None

    @property
    def _is_new(self) -> bool:
        # uvicorn's types do not say that there is none at first
        return cast(object, self.cycle) is None

    @property
    def _is_answered(self) -> bool:
        return self._is_new or self.cycle.response_complete

    # ---- called by the transport ----

    def data_received(self, data: bytes) -> None:
        """Reads what came, in pieces."""
        if len(data) <= PIECE_BYTES:
            self._read(data)
            return
        rest = memoryview(data)
        while rest:
            self._read(bytes(rest[:PIECE_BYTES]))
            rest = rest[PIECE_BYTES:]

    def _read(self, data: bytes) -> None:
        while self._refusal is None and self._successor is None:
            self._has_advanced = False
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                data = self._answer_offer(data[offer.args[0] :])
                continue
            except httptools.HttpParserError as error:
                cause = error.__context__
                known = isinstance(cause, PalaverError)
                self._refuse(cause if known else PalaverError(MALFORMED, "this is not HTTP/1.1"))  # type: ignore[arg-type] # checked
                return
            self._unhanded = 0 if self._has_advanced else self._unhanded + len(data)
            if self._unhanded > HEAD_BYTES:
                self._refuse(PalaverError(HEAD_TOO_LARGE, f"a head has at most {HEAD_BYTES} bytes"))
            return
        if self._successor is not None and data:
            self._successor.data_received(data)

    def _answer_offer(self, rest: bytes) -> bytes:
        """Upgrades, or passes the offer over. Returns the bytes to read next."""
        method, version = self.parser.get_method(), self.parser.get_http_version()
        if self._is_answered and self.ws_protocol_class and asks_for_websocket(method, version, self.headers):
            self.handle_websocket_upgrade()
            self._successor = cast(asyncio.Protocol, self.transport.get_protocol())
            return rest
        # A parser that never sees the offer reads the same request, and its body where it ends
        head = head_of(method, self.url, version, [one for one in self.headers if one[0] != b"upgrade"])
        self.parser = new_parser(self)
        return head + rest

    # ---- called by the parser ----

    def _should_upgrade(self) -> bool:
        # Asked about requests that offer an upgrade: they are not served before the offer is answered
        return True

    def on_message_begin(self) -> None:
        """The first byte of a head."""
        super().on_message_begin()
        self._has_begun = True
        self._seconds = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer: then nobody reads `headers` any more."""
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        # llhttp keeps the space behind a value, which is no part of it (RFC 9112 §5.1)
        self.headers.append((name, value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        """A whole head. Raises `PalaverError` where it cannot be served."""
        self._has_advanced = True
        if self._refusal is None:
            version = self.parser.get_http_version()
            if self._unhanded and len(head_of(b"GET", self.url, version, self.headers)) > HEAD_BYTES:
                raise PalaverError(HEAD_TOO_LARGE, f"a head has at most {HEAD_BYTES} bytes")
            check_head(self.parser.get_method(), version, self.headers)
        super().on_headers_complete()
        if self.parser.should_upgrade():
            return
        self._reads_head = self._has_begun = False
        self._seconds = self._body_bytes = 0
        # Trailers go here, and not to the request (RFC 9110 §6.5.1)
        self.headers = []

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        self._has_advanced = True
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The end of a request; of one that offers an upgrade only the end of its head."""
        super().on_message_complete()
        if not self.parser.should_upgrade():
            self._has_advanced = self._reads_head = True
            self._seconds = 0

    # ---- called by the request's cycle ----

    def on_response_complete(self) -> None:
        """Serves the next request that has come. No timer waits for one: see `sweep`."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self.flow.resume_reading()
        if self._refusal is not None or (self._reads_head and not self._has_begun):
            self._seconds = 0

    # ---- refusals ----

    def _refuse(self, error: PalaverError) -> None:
        """Ends the connection with a response, behind those to earlier requests. Reads nothing more."""
        self._refusal = error
        if self._reads_head:
            self._serve_refusal(error)
        elif self.cycle.response_complete:
            self.transport.close()
            return
        elif not self.cycle.response_started:
            # Raised when the application reads the body
            cast(dict[str, Any], self.cycle.scope)[REFUSAL] = error
            self.cycle.message_event.set()
        self.cycle.keep_alive = False
        self.cycle.transport = cast(asyncio.Transport, LingeringTransport(self.transport))

    def _serve_refusal(self, error: PalaverError) -> None:
        """Lets the application answer a head that is broken: it logs, counts and shapes."""
        method = self.parser.get_method().decode() if self.url else "GET"
        path = self.url.partition(b"?")[0][:_PATH_BYTES]
        headers = without_framing(self.headers)
        self.parser = new_parser(self)
        self.parser.feed_data(head_of(b"GET", path if _PATH.fullmatch(path) else b"/", "1.1", headers))
        scope = cast(dict[str, Any], self.cycle.scope)
        scope["method"], scope[REFUSAL] = method, error

    # ---- called once a second ----

    def sweep(self) -> None:
        """Ends a connection whose client is too slow. Counts its own calls: a process that stood still must
        not take all clients for slow ones."""
        if self._is_unread():
            return
        if self.flow.read_paused:
            # The client waits for us
            return
        self._seconds += 1
        is_answered = self._is_answered
        if self._refusal is not None:
            if is_answered and self._seconds > LINGER_SECONDS:
                self.transport.abort()
        elif not self._reads_head:
            self._sweep_body(is_answered)
        elif self._has_begun or self._is_new:
            if self._seconds > HEAD_SECONDS:
                self._end_head()
        elif is_answered and self._seconds > self.timeout_keep_alive:
            self.transport.close()

    def _is_unread(self) -> bool:
        """Whether a response waits for the client to read it, who loses the connection if it does not."""
        unsent = self.transport.get_write_buffer_size()
        self._stalled = self._stalled + 1 if unsent and unsent >= self._unsent else 0
        self._unsent = unsent
        if self._stalled > STALLED_SECONDS:
            self.transport.abort()
        return unsent > 0

    def _end_head(self) -> None:
        if self._has_begun:
            self._refuse(PalaverError(REQUEST_TIMEOUT, f"a head comes within {HEAD_SECONDS} seconds"))
        else:
            self.transport.close()

    def _sweep_body(self, is_answered: bool) -> None:
        if is_answered and self._seconds > DRAIN_SECONDS:
            self.transport.close()
        elif self._seconds % BODY_SECONDS == 0:
            if self._body_bytes < BODY_SECONDS * BODY_BYTES_PER_SECOND:
                rate = f"a body brings {BODY_BYTES_PER_SECOND} bytes a second"
                self._refuse(PalaverError(REQUEST_TIMEOUT, rate))
            self._body_bytes = 0


class LingeringTransport:
    """A connection that is closed only for writing: what its client still sends is read, and dropped."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def write(self, data: bytes) -> None:
        """See `asyncio.Transport`."""
        self._transport.write(data)

    def is_closing(self) -> bool:
        """See `asyncio.Transport`."""
        return self._transport.is_closing()

    def close(self) -> None:
        """Says that no more comes."""
        if not self._transport.is_closing():
            self._transport.write_eof()


def new_parser(protocol: HttpProtocol) -> httptools.HttpRequestParser:
    """A parser as uvicorn makes it."""
    parser = httptools.HttpRequestParser(protocol)
    # What follows a request that closes the connection is dropped, and is no error
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser


def head_of(method: bytes, url: bytes, version: str, headers: Headers) -> bytes:
    """A head as bytes."""
    lines = [b"%b %b HTTP/%b" % (method, url, version.encode()), *(b"%b: %b" % one for one in headers)]
    return b"\r\n".join([*lines, b"", b""])
