"""The lightest XMPP client that will do, of the same make as the WebSocket client in `bench.wire`.

What is sent is made whole before the measurement. What is received is cut into stanzas and searched, not
parsed (RFC 6120). CDATA, which RFC 6120 allows and ejabberd does not write, is not understood.
"""

import asyncio
import re
from base64 import b64encode
from functools import lru_cache
from typing import cast

from bench.people import Address, Pair, User
from bench.wire import HANDSHAKE_SECONDS, Heard

HOST = "localhost"
PASSWORD = "bench"
ACKNOWLEDGEMENT = b"<a "
# A sender is sent nothing but acknowledgements, and its own messages as errors
ERROR = b"<message "
STREAM = (
    f"<?xml version='1.0'?><stream:stream to='{HOST}' version='1.0' xmlns='jabber:client' "
    "xmlns:stream='http://etherx.jabber.org/streams'>"
).encode()
BIND = b"<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>"
# XEP-0198: the server counts what it has handled, and says its count when it is asked
ENABLE_COUNT = b"<enable xmlns='urn:xmpp:sm:3'/>"
ASK_COUNT = "<r xmlns='urn:xmpp:sm:3'/>"

_ATTRIBUTES = rb"(?:[^<>\"']++|\"[^\"]*+\"|'[^']*+')*+>"
_OPENING = re.compile(rb"\s*+(<(/?[^\s/<>]++)" + _ATTRIBUTES + rb")")
_REFUSALS = (b"<failure", b"<failed", b"<stream:error", b"type='error'")
_SLASH = ord("/")


def stanza_bounds(data: bytes, at: int) -> tuple[int, int]:
    """Where the stanza behind `at` begins and ends; (0, 0) while it is not all here.

    The closing tag of the stream counts as a stanza. Whitespace between stanzas is passed over.
    """
    opening = _OPENING.match(data, at)
    if opening is None:
        return 0, 0
    start, end = opening.span(1)
    name = opening[2]
    if data[end - 2] == _SLASH or name[0] == _SLASH:
        return start, end
    closing = data.find(b"</%b>" % name, end)
    if closing < 0:
        return 0, 0
    if data.find(b"<" + name, end, closing) < 0:
        return start, closing + len(name) + 3
    end = _nested_end(data, name, end)
    return (start, end) if end else (0, 0)


def _nested_end(data: bytes, name: bytes, at: int) -> int:
    """The end of an element that holds others of its name; 0 while it is not all here."""
    depth = 1
    for tag in _tags_of(name).finditer(data, at):
        if tag[1]:
            depth -= 1
        elif data[tag.end() - 2] != _SLASH:
            depth += 1
        if not depth:
            return tag.end()
    return 0


@lru_cache
def _tags_of(name: bytes) -> "re.Pattern[bytes]":
    return re.compile(rb"<(/?)" + re.escape(name) + rb"(?=[\s/>])" + _ATTRIBUTES)


class XmppSocket(asyncio.Protocol):
    """One client's stream. `heard(data, start, end)` is called for every stanza: `data[start:end]`."""

    def __init__(self, heard: Heard | None = None) -> None:
        self.heard = heard
        self.closed = ""
        self._rest = b""
        self._until = b""
        self._answered: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport."""
        self.transport = cast(asyncio.Transport, transport)
        self.write = self.transport.write

    async def ask(self, request: bytes, until: bytes) -> None:
        """Writes, and waits for the tag that begins with `until`. Raises `ConnectionError`."""
        self._until = until
        self._answered = asyncio.get_running_loop().create_future()
        self.write(request)
        await self._answered
        self._answered = None

    def data_received(self, data: bytes) -> None:
        """Finds stanzas; hands them on, notes the end of the stream."""
        if self._rest:
            data = self._rest + data
        if self._answered is not None:
            data = self._read_answer(data, self._answered)
        at = 0
        heard = self.heard
        while True:
            start, end = stanza_bounds(data, at)
            if not end:
                break
            if data.startswith((b"<stream:", b"</stream:"), start):
                self.closed = data[start:end].decode(errors="replace")
                self.transport.close()
            elif heard is not None:
                heard(data, start, end)
            at = end
        self._rest = data[at:]

    def connection_lost(self, exc: Exception | None) -> None:
        """Notes the end."""
        self.closed = self.closed or repr(exc)
        self._fail(f"the stream closed while opening: {self.closed}")

    def _read_answer(self, data: bytes, answered: "asyncio.Future[None]") -> bytes:
        """What is behind the awaited tag. Before it may be the head of a stream, which has no end yet."""
        if any(refusal in data for refusal in _REFUSALS):
            self._fail(f"refused: {data[:300]!r}")
        found = data.find(self._until)
        end = data.find(b">", found) + 1 if found >= 0 else 0
        if not end or answered.done():
            self._rest = data
            return b""
        answered.set_result(None)
        return data[end:]

    def _fail(self, reason: str) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(ConnectionError(reason))


async def open_xmpp(address: Address, user: str, heard: Heard | None, *, acks: bool = False) -> XmppSocket:
    """A stream of a user who is signed in and available. `acks`: messages will be acknowledged.

    Raises `ConnectionError` and `TimeoutError`.
    """
    _, socket = await asyncio.get_running_loop().create_connection(lambda: XmppSocket(heard), *address)
    plain = b64encode(f"\0{user}\0{PASSWORD}".encode()).decode()
    sign_in = f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{plain}</auth>".encode()
    steps = [(STREAM, b"</stream:features"), (sign_in, b"<success"), (STREAM, b"</stream:features")]
    # Without presence, messages to the user's bare address would be stored only
    steps += [(BIND, b"</iq"), (b"<presence/>", b"<presence")]
    steps += [(ENABLE_COUNT, b"<enabled")] if acks else []
    try:
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            for request, until in steps:
                await socket.ask(request, until)
    except BaseException:
        socket.transport.close()
        raise
    return socket


def message_template(recipient: str, text: str) -> bytes:
    """A message and the question for its acknowledgement, to be filled by `%` with a number and the time."""
    message = f"<message to='{recipient}@{HOST}' type='chat' id='%08x'><body>{text}</body></message>"
    return (message + ASK_COUNT).encode()


def xmpp_pairs(number: int) -> list[Pair]:
    """Pairs whose users a server has to know by `User.token`; their `chat_id` is the recipient."""
    return [
        Pair(User("", "", f"pair{place}-0"), User("", "", f"pair{place}-1"), f"pair{place}-1")
        for place in range(number)
    ]
