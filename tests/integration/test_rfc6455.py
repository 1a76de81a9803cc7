"""RFC 6455 over a gateway's real sockets. Each case is written at once, and again in small pieces."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import uvloop

from palaver.contracts.ids import new_id
from tests.harness.keys import Keys
from tests.harness.raw_socket import BINARY, CLOSE, PONG, TEXT, Frame, RawSocket, client_frame
from tests.harness.realtime import HOST, running_gateway
from tests.harness.rfc6455_cases import (
    AROUND,
    CONTINUATION,
    FRAMING,
    INVALID_TEXTS,
    VALID_TEXTS,
    close,
    echo,
    fragments,
)

V1, V2 = "/messenger/ws", "/v2/ws"
# A port without a messenger
NOBODY = 1
# No case of a larger one is written in pieces
SMALL_BYTES = 600


class Server:
    """A gateway on the loop that serves it in earnest. It has no messenger: framing and echoes need none."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self.stack = contextlib.AsyncExitStack()
        running = running_gateway(Keys(), NOBODY)
        self.gateway = self.runner.run(self.stack.enter_async_context(running))

    def stop(self) -> None:
        """Ends it."""
        self.runner.run(self.stack.aclose())
        self.runner.close()

    async def open(self, path: str = V2) -> RawSocket:
        """A client of a new user."""
        return await RawSocket.open(HOST, self.gateway.port, path, self.gateway.keys.token(new_id()))

    def answers(self, wire: bytes, *, path: str = V2, piece: int = 0, ends: bool = True) -> list[Any]:
        """What a client gets that writes all of this: texts, pongs' payloads as bytes, the close code.

        `ends`: the client closes behind it.
        """
        return self.runner.run(self.converse(wire + (close() if ends else b""), path, piece))

    async def converse(self, wire: bytes, path: str, piece: int) -> list[Any]:
        """Writes all, `piece` bytes at a time, and reads to the end of the connection."""
        client = await self.open(path)
        client.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(wire), piece or len(wire)):
            client.write(wire[at : at + (piece or len(wire))])
            await asyncio.sleep(0)
        found: list[Any] = []
        async with asyncio.timeout(5):
            while (frame := await client.read()) is not None:
                assert frame.fin
                found.append(shown(frame))
        await client.close()
        return found


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One for all cases."""
    running = Server()
    yield running
    running.stop()


def shown(frame: Frame) -> Any:
    """A frame of the server's, as the cases name it."""
    if frame.opcode == TEXT:
        told = json.loads(frame.payload)
        if "action" in told:
            return told["action"]
        return told["code"] if told["type"] == "error" else told.get("id", "")
    if frame.opcode == PONG:
        return frame.payload
    assert frame.opcode == CLOSE
    frame.payload[2:].decode()
    return frame.close_code


def is_hopeless(data: bytes) -> bool:
    """Whether nothing behind it can make it UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error.reason != "unexpected end of data"
    return False


# Each at once, and in pieces: byte by byte where it is small
CASES = [
    pytest.param(wire, piece, expected, id=f"{name}, by {piece or 'all'}")
    for name, (wire, expected) in FRAMING.items()
    for piece in ((0, 1, 7) if len(wire) < SMALL_BYTES else (0, 9_973))
]


@pytest.mark.parametrize(("wire", "piece", "expected"), CASES)
def test_frames_are_answered_as_the_rfc_says(
    server: Server, wire: bytes, piece: int, expected: list[Any]
) -> None:
    """A browser would call the server broken, or somebody could send what breaks another's client."""
    assert server.answers(wire, piece=piece) == expected


@pytest.mark.parametrize("text", VALID_TEXTS, ids=ascii)
@pytest.mark.parametrize("piece", [0, 1])
def test_any_text_is_taken_however_it_is_split(server: Server, text: str, piece: int) -> None:
    """Texts in some script would close the sender's socket, or depend on how the network cuts them."""
    for wire in (client_frame(TEXT, echo(text)), fragments(echo(text), 1)):
        assert server.answers(wire, piece=piece) == [text, 1000]


@pytest.mark.parametrize("text", INVALID_TEXTS, ids=repr)
@pytest.mark.parametrize("path", [V1, V2])
def test_a_text_that_is_no_utf_8_closes_with_1007(server: Server, path: str, text: bytes) -> None:
    """Bytes that are no text would go on as one, or the client would not learn what is wrong with it."""
    for frame in frames_around(path, text):
        for wire in (client_frame(TEXT, frame), fragments(frame, 1), fragments(frame, 20)):
            assert server.answers(wire, path=path) == [1007]


def frames_around(path: str, text: bytes) -> list[bytes]:
    """Frames that hold bytes where each decoder looks at them, where it passes over them, and nowhere."""
    if path == V2:
        return [AROUND[:-2] + text + AROUND[-2:], b'{"type":"ping","x":"' + text + b'"}', text]
    envelope = b'{"topic":"messenger","action":"send-message","payload":"%s"}'
    chat = text_of_payload()
    return [
        envelope % (b"{" + text + b"}"),
        envelope % chat + text,
        (envelope % chat)[:-1] + b',"x":"' + text + b'"}',
        (envelope % chat)[:-1] + b',"' + text + b'":{"a":[1]}}',
    ]


def text_of_payload() -> bytes:
    """A payload of v1 that is right, as it stands within a string."""
    payload = json.dumps({"chat_id": "01940b7e-2f63-7c1e-8d5a-3a1f0c9e7b21", "messages": [{"text": "a"}]})
    return json.dumps(payload)[1:-1].encode()


@pytest.mark.parametrize("text", [one for one in INVALID_TEXTS if is_hopeless(one)], ids=repr)
def test_a_fragment_that_is_no_utf_8_closes_before_the_message_ends(server: Server, text: bytes) -> None:
    """A client would send on and on what nobody can take."""
    wire = client_frame(TEXT, AROUND[:-2], fin=False) + client_frame(CONTINUATION, text, fin=False)
    assert server.answers(wire, ends=False) == [1007]


@pytest.mark.parametrize("path", [V1, V2])
def test_binary_data_is_refused_in_each_generation(server: Server, path: str) -> None:
    """A client that sends bytes would be told that its JSON is wrong."""
    assert server.answers(client_frame(BINARY, echo("a")), path=path) == [1003]


def test_what_still_comes_does_not_take_the_close_away(server: Server) -> None:
    """A client in the midst of a large message would see a reset, and send it again and again."""

    async def send_on() -> tuple[Frame | None, Frame | None]:
        client = await server.open()
        client.write(client_frame(TEXT, b"x" * 262_145))
        for _ in range(200):
            client.write(b"x" * 10_000)
            await asyncio.sleep(0)
        read = await client.read(), await client.read()
        await client.close()
        return read

    for _ in range(5):
        refused, end = server.runner.run(send_on())
        assert refused is not None
        assert refused.close_code == 1009
        assert end is None
