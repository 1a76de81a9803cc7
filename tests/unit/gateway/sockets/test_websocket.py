"""WebSockets on the wire: real connections through uvicorn."""

import asyncio
import struct
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from palaver.contracts.errors import RESTARTING
from palaver.gateway.sockets.upgrade import HandshakeRequest, UpgradeProtocol, http_response
from palaver.gateway.sockets.websocket import MOST_PONGS, WebSocket, text_frame
from palaver.runtime.http.server import serving_http
from tests.harness.raw_socket import BINARY, CLOSE, PING, PONG, TEXT, Frame, RawSocket, client_frame
from tests.harness.realtime import HOST, respond_not_found
from tests.harness.waiting import eventually

FRAME_BYTES = 4_096
WAITING_BYTES = 262_144


class Echo:
    """Sends back what it receives, and notes what happens to it."""

    def __init__(self) -> None:
        self.wire = WebSocket(self, FRAME_BYTES, WAITING_BYTES)
        self.received: list[bytes] = []
        self.is_open = False
        self.slow = 0
        self.drains = 0
        self.closes = 0

    def handle_open(self) -> None:
        """See `WebSocketHandler`."""
        self.is_open = True

    def handle_message(self, text: bytes) -> None:
        """See `WebSocketHandler`."""
        self.received.append(text)
        self.wire.write(text_frame(text))

    def handle_slow(self) -> None:
        """See `WebSocketHandler`."""
        self.slow += 1

    def handle_drained(self) -> None:
        """See `WebSocketHandler`."""
        self.drains += 1

    def handle_close(self) -> None:
        """See `WebSocketHandler`."""
        self.closes += 1


class Server:
    """Admits all but `/no`. `/slow` is admitted when `gate` is set."""

    def __init__(self) -> None:
        self.echoes: list[Echo] = []
        self.requests: list[HandshakeRequest] = []
        self.gate = asyncio.Event()
        self.port = 0

    async def decide(self, request: HandshakeRequest) -> WebSocket | bytes:
        """Decides on an upgrade."""
        self.requests.append(request)
        if request.path == "/no":
            return http_response(429, b"no", "text/plain", 2.0)
        if request.path == "/slow":
            await self.gate.wait()
        self.echoes.append(Echo())
        return self.echoes[-1].wire

    async def open(self, path: str = "/ws") -> RawSocket:
        """A client's connection."""
        return await RawSocket.open(HOST, self.port, path, "token")


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Server]:
    """A server on a free port."""
    served = Server()

    def protocol(*_: object, **__: object) -> UpgradeProtocol:
        return UpgradeProtocol(served.decide, FRAME_BYTES)

    async with serving_http(respond_not_found, HOST, 0, ws=protocol) as running:
        served.port = running.port
        yield served


async def read_all(socket: RawSocket) -> list[Frame]:
    """Frames until the connection ends."""
    found = []
    async with asyncio.timeout(5):
        while (frame := await socket.read()) is not None:
            found.append(frame)
    await socket.close()
    return found


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 300_000])
def test_a_text_frame_has_its_size(size: int) -> None:
    """Clients would read beyond a message, or into the next."""
    payload = b"x" * size
    wire = text_frame(payload)
    assert wire[0] == 0x81
    if size < 126:
        assert wire[1:] == bytes([size]) + payload
    elif size < 65_536:
        assert wire[1:] == struct.pack("!BH", 126, size) + payload
    else:
        assert wire[1:] == struct.pack("!BQ", 127, size) + payload


@pytest.mark.parametrize("size", [0, 1, 125, 126, FRAME_BYTES])
async def test_texts_are_received_whole(server: Server, size: int) -> None:
    """Nobody could talk."""
    socket = await server.open()
    socket.write(client_frame(TEXT, b"x" * size))
    assert await socket.read() == Frame(TEXT, b"x" * size)
    await socket.close()


async def test_another_client_understands_it(server: Server) -> None:
    """Only our own clients could connect."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"http://{HOST}:{server.port}/ws?token=a%20b&x=1", headers={"X-Name": "v"}) as ws,
    ):
        await ws.send_str("hello")
        assert await ws.receive_str() == "hello"
    assert ws.close_code == 1000
    (request,) = server.requests
    assert (request.path, request.query, request.address) == ("/ws", {"token": "a b", "x": "1"}, HOST)
    assert request.headers["x-name"] == "v"


async def test_fragments_are_put_together_around_pings(server: Server) -> None:
    """Clients that write in pieces would not be understood."""
    socket = await server.open()
    socket.write(
        client_frame(TEXT, b"one ", fin=False),
        client_frame(PING, b"still there?"),
        client_frame(0, b"", fin=False),
        client_frame(0, b"two"),
    )
    assert await socket.read() == Frame(PONG, b"still there?")
    assert await socket.read() == Frame(TEXT, b"one two")
    await socket.close()


async def test_empty_fragments_cost_no_memory(server: Server) -> None:
    """One client could fill the memory with nothing (promise P9)."""
    socket = await server.open()
    socket.write(client_frame(TEXT, b"a", fin=False), *([client_frame(0, b"", fin=False)] * 5_000))
    socket.write(client_frame(PING))
    assert await socket.read() == Frame(PONG, b"")
    assert len(server.echoes[0].wire._fragments or b"") == 1
    await socket.close()


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (client_frame(TEXT, b"x", rsv=4), 1002),
        (client_frame(TEXT, b"x", rsv=1), 1002),
        (client_frame(BINARY, b"x", rsv=2, fin=False), 1002),
        (client_frame(0, b"x"), 1002),
        (client_frame(TEXT, b"x", fin=False) + client_frame(TEXT, b"y"), 1002),
        (client_frame(3, b"x"), 1002),
        (client_frame(TEXT, b"x", masked=False), 1002),
        (client_frame(PING, b"x", fin=False), 1002),
        (client_frame(PING, b"x" * 126), 1002),
        (client_frame(CLOSE, b"\x03"), 1002),
        (client_frame(CLOSE, struct.pack("!H", 1005)), 1002),
        (client_frame(TEXT, b"x" * (FRAME_BYTES + 1)), 1009),
        (client_frame(TEXT, b"x" * 3_000, fin=False) + client_frame(0, b"x" * 3_000), 1009),
        (client_frame(CLOSE), 1000),
        (client_frame(CLOSE, struct.pack("!H", 1000) + b"bye"), 1000),
        (client_frame(CLOSE, struct.pack("!H", 4321)), 4321),
    ],
)
async def test_what_breaks_the_protocol_or_ends_it_is_answered_with_a_code(
    server: Server, wire: bytes, code: int
) -> None:
    """A client would wait on a dead connection, or its library would call ours broken (RFC 6455)."""
    socket = await server.open()
    socket.write(wire)
    answers = await read_all(socket)
    assert [(answer.opcode, answer.close_code) for answer in answers[:1]] == [(CLOSE, code)]
    await eventually(lambda: server.echoes[0].closes == 1, "closed")
    assert server.echoes[0].received == []


async def test_nothing_is_received_or_sent_behind_a_close(server: Server) -> None:
    """What a client sends after its close would be done, and libraries fail on frames behind a close."""
    socket = await server.open()
    socket.write(client_frame(TEXT, b"before"), client_frame(CLOSE), client_frame(TEXT, b"behind"))
    assert [frame.opcode for frame in await read_all(socket)] == [TEXT, CLOSE]
    assert server.echoes[0].received == [b"before"]

    socket = await server.open()
    await eventually(lambda: len(server.echoes) == 2 and server.echoes[1].is_open, "open")
    echo = server.echoes[1]
    echo.wire.close(RESTARTING)
    echo.wire.write(text_frame(b"behind"))
    socket.write(client_frame(TEXT, b"behind"), client_frame(CLOSE, struct.pack("!H", 1012)))
    (close,) = await read_all(socket)
    assert (close.close_code, close.payload[2:].decode()) == (1012, RESTARTING.title)
    assert echo.received == []


async def test_a_lost_connection_is_noticed_once(server: Server) -> None:
    """Users would be counted twice as gone, or stay online for ever."""
    socket = await server.open()
    await eventually(lambda: server.echoes, "open")
    socket.writer.transport.abort()
    await eventually(lambda: server.echoes[0].closes, "closed")
    server.echoes[0].wire.abort()
    server.echoes[0].wire.write(text_frame(b"to nobody"))
    await asyncio.sleep(0.01)
    assert server.echoes[0].closes == 1


async def test_what_waits_for_a_slow_reader_is_counted_and_drains(server: Server) -> None:
    """Nobody could be found out as slow, and no resume would go on."""
    socket = await RawSocket.open(HOST, server.port, "/ws", "token", limit=1024)
    await eventually(lambda: server.echoes and server.echoes[0].is_open, "open")
    echo = server.echoes[0]
    payload = b"x" * 1_000_000
    for _ in range(20):
        waiting = echo.wire.write(text_frame(payload))
    assert waiting == echo.wire.waiting() > len(payload)
    for _ in range(20):
        assert await socket.read() == Frame(TEXT, payload)
    await eventually(lambda: echo.drains and not echo.wire.waiting(), "drained")
    await socket.close()


async def test_what_is_sent_before_the_handshake_is_done_is_received(server: Server) -> None:
    """A client in a hurry would lose its first messages."""
    socket = await RawSocket.request_upgrade(HOST, server.port, "/slow", "token")
    await eventually(lambda: server.requests, "decided on")
    socket.write(client_frame(TEXT, b"first"), client_frame(TEXT, b"x" * 3_000))
    await asyncio.sleep(0.01)
    server.gate.set()
    await socket.upgraded()
    assert await socket.read() == Frame(TEXT, b"first")
    assert await socket.read() == Frame(TEXT, b"x" * 3_000)
    await socket.close()


async def test_who_sends_much_before_the_handshake_is_dropped(server: Server) -> None:
    """Anybody without a token could fill the memory while auth is slow (promise P9)."""
    socket = await RawSocket.request_upgrade(HOST, server.port, "/slow", "token")
    await eventually(lambda: server.requests, "decided on")
    socket.write(client_frame(TEXT, b"x" * (FRAME_BYTES + 1)))
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await socket.upgraded()
    await socket.close()


async def test_a_refusal_is_an_http_response(server: Server) -> None:
    """A client could not tell a bad token from a dead server."""
    with pytest.raises(ConnectionError) as refused:
        await server.open("/no")
    head, _, body = str(refused.value).partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 429 ")
    assert "retry-after: 2" in head.lower()
    assert "connection: close" in head.lower()
    assert body == "no"


async def test_who_does_not_wait_for_the_answer_is_forgotten(server: Server) -> None:
    """Clients that give up would leave sockets that nobody closes."""
    socket = await RawSocket.request_upgrade(HOST, server.port, "/slow", "token")
    await eventually(lambda: server.requests, "decided on")
    await socket.close()
    await asyncio.sleep(0.05)
    server.gate.set()
    await asyncio.sleep(0.05)
    assert all(echo.closes == echo.is_open for echo in server.echoes)


async def test_pausing_leaves_frames_unread_until_the_close(server: Server) -> None:
    """A stopping gateway would take messages that it can't pass on any more."""
    socket = await server.open()
    await eventually(lambda: server.echoes and server.echoes[0].is_open, "open")
    server.echoes[0].wire.pause_reading()
    socket.write(client_frame(TEXT, b"late"))
    await asyncio.sleep(0.05)
    assert server.echoes[0].received == []
    server.echoes[0].wire.close(RESTARTING)
    close = await socket.read()
    assert close is not None
    assert close.close_code == 1012
    await socket.close()
    assert server.echoes[0].received == []


@pytest.mark.parametrize(
    "offer",
    [
        "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n",
        "Connection: Upgrade,keep-alive\r\nUpgrade: WebSocket\r\n",
        "CONNECTION: UPGRADE\r\nUPGRADE: WEBSOCKET\r\n",
        "Connection: keep-alive\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n",
        "Upgrade: websocket\r\nConnection: upgrade \t\r\n",
        "Connection: foo ,\tUpgrade , bar\r\nUpgrade: websocket \r\nContent-Length: 0\r\n",
    ],
)
async def test_a_valid_handshake_has_many_forms(server: Server, offer: str) -> None:
    """Firefox, and clients behind proxies, could not connect."""
    reader, writer = await asyncio.open_connection(HOST, server.port)
    key = "dGhlIHNhbXBsZSBub25jZQ=="
    rest = f"sec-websocket-key:{key}\r\nSEC-WEBSOCKET-VERSION: 13\r\n"
    writer.write(f"GET /ws HTTP/1.1\r\n{offer}Host: a\r\n{rest}\r\n".encode() + client_frame(TEXT, b"early"))
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    assert head.startswith(b"http/1.1 101 ")
    assert b"sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=" in head
    assert await RawSocket(reader, writer).read() == Frame(TEXT, b"early")
    writer.close()
    await writer.wait_closed()


async def test_of_very_many_pings_at_once_the_last_is_answered(server: Server) -> None:
    """One user's flood of pings would keep everybody's messages waiting for seconds."""
    socket = await RawSocket.open(HOST, server.port, "/ws", "token")
    await eventually(lambda: server.echoes and server.echoes[0].is_open, "open")
    socket.write(b"".join(client_frame(PING, b"%d" % number) for number in range(10 * MOST_PONGS)))
    last = b"%d" % (10 * MOST_PONGS - 1)
    pongs: list[bytes] = []
    while not pongs or pongs[-1] != last:
        frame = await socket.read()
        assert frame is not None
        assert frame.opcode == PONG
        pongs.append(frame.payload)
    assert pongs[:MOST_PONGS] == [b"%d" % number for number in range(MOST_PONGS)]
    # They come in a few reads
    assert len(pongs) < 5 * MOST_PONGS
    await socket.close()
