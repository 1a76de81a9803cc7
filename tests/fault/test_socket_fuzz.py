"""Frames of clients that are broken, or mean ill, on sockets of both generations.

10,000 frames: mutations of real ones, and of the framing. The process lives, each socket answers or is closed
with a documented code, others are not touched, and memory stays flat.
"""

import asyncio
import contextlib
import json
import signal
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from palaver.contracts.errors import CATALOGUE
from palaver.contracts.frames import ServerFrame
from palaver.contracts.ids import new_id, text_from_id
from palaver.messenger.store.chats import create_group
from tests.harness.keys import Keys
from tests.harness.messenger_database import MessengerDatabase
from tests.harness.raw_socket import BINARY, CLOSE, PING, PONG, TEXT, Frame, RawSocket, client_frame
from tests.harness.realtime import HOST
from tests.harness.realtime_process import RealtimeProcess

FRAME_BYTES = 262_144
FRAMES_AT_ONCE = 25
EXAMPLES = 200
MEMORY_BYTES = 32 * 1024 * 1024
ANSWER_SECONDS = 10.0
# Of RFC 6455 §7.4.1: an orderly close, a broken protocol; the others are the catalogue's
DOCUMENTED = {1000, 1002, *(kind.close for kind in CATALOGUE.values())}

CHAT = new_id()
USER, OTHER = new_id(), new_id()


# ---- what clients write ----

ODD_NUMBERS = [
    "1e999",
    "-0",
    "1" * 400,
    "-1",
    "0.1",
    "9223372036854775808",
    "1e-400",
    "NaN",
    "Infinity",
    "01",
]
ODD_TEXTS = [
    '"\\u0000"',
    '"\\ud800"',
    '"\\udfff\\ud800"',
    '"\\x"',
    '"\t"',
    '""',
    '"e\\u0301"',
    '"\U0001f469\\u200d"',
]
ODD_VALUES = [
    *ODD_NUMBERS,
    *ODD_TEXTS,
    "null",
    "true",
    "[]",
    "{}",
    "[[[[]]]]",
    '{"a":{"a":{}}}',
    "",
    "\ufeff1",
    "'a'",
]

numbers = st.integers(-(2**70), 2**70).map(str)
texts = st.text(max_size=30).map(lambda text: json.dumps(text, ensure_ascii=False))
long_texts = st.integers(1_000, 20_000).map(lambda size: json.dumps("x" * size))
deep = st.tuples(st.sampled_from(["[", '{"a":', '["', "[{"]), st.integers(2, 60_000)).map(
    lambda d: d[0] * d[1]
)
real = st.sampled_from([text_from_id(CHAT), text_from_id(new_id()), "a word"]).map(json.dumps)
values = st.one_of(st.sampled_from(ODD_VALUES), numbers, texts, long_texts, deep, real)


class ClientBytes:
    """Bytes on the wire. `sound`: they are whole frames that break no rule of the framing."""

    def __init__(self, wire: bytes, *, sound: bool = True) -> None:
        self.wire = wire
        self.sound = sound

    def __repr__(self) -> str:
        return f"{self.wire[:200]!r} ({len(self.wire)} bytes)"


def fields_v2() -> list[dict[str, str]]:
    """Real frames of v2, each field as JSON."""
    chat = json.dumps(text_from_id(CHAT))
    return [
        {
            "type": '"send"',
            "chat_id": chat,
            "client_id": json.dumps(text_from_id(new_id())),
            "text": '"hello"',
        },
        {"type": '"receipt"', "chat_id": chat, "received_seq": "1", "read_seq": "1"},
        {"type": '"typing"', "chat_id": chat},
        {"type": '"resume"', "cursors": f"{{{chat}:0}}"},
        {"type": '"ping"', "id": '"1"'},
    ]


def fields_v1() -> list[dict[str, str]]:
    """Real frames of v1. The payload is mutated by itself (see `payloads`)."""
    return [{"topic": '"messenger"', "action": '"send-message"', "payload": json.dumps(payload_v1())}]


def payload_v1(chat_id: str = "", messages: str = '[{"text":"hello","status":"created"}]') -> str:
    """A payload of v1."""
    return f'{{"chat_id":{chat_id or json.dumps(text_from_id(CHAT))},"messages":{messages}}}'


def put_together(fields: dict[str, str]) -> bytes:
    """An object of fields that may be no JSON."""
    inner = ",".join(f"{json.dumps(name)}:{value}" for name, value in fields.items())
    return f"{{{inner}}}".encode("utf-8", "surrogatepass")


@st.composite
def mutated(draw: Any, frames: list[dict[str, str]]) -> bytes:
    """A real frame, of which something is changed."""
    fields = dict(draw(st.sampled_from(frames)))
    name = draw(st.sampled_from(sorted(fields)))
    how = draw(
        st.sampled_from(["value", "value", "value", "drop", "add", "twice", "truncate", "bytes", "not"])
    )
    if how == "value":
        fields[name] = draw(values)
    elif how == "drop":
        del fields[name]
    elif how == "add":
        fields[draw(st.text(max_size=10))] = draw(values)
    whole = put_together(fields)
    if how == "twice":
        whole = whole[:-1] + b"," + put_together({name: draw(values)})[1:]
    elif how == "truncate":
        whole = whole[: draw(st.integers(0, len(whole)))]
    elif how == "bytes":
        at = draw(st.integers(0, len(whole)))
        whole = whole[:at] + draw(st.binary(max_size=8)) + whole[at:]
    return whole


def many_messages(count: int) -> str:
    """The messages of a payload."""
    return "[" + ",".join(['{"text":"a"}'] * count) + "]"


payloads = st.one_of(
    values,
    values.map(lambda value: payload_v1(chat_id=value)),
    values.map(lambda value: payload_v1(messages=value)),
    values.map(lambda value: payload_v1(messages=f'[{{"text":{value}}}]')),
    st.integers(0, 300).map(lambda count: payload_v1(messages=many_messages(count))),
)
frames_v1 = st.one_of(
    mutated(fields_v1()),
    payloads.map(
        lambda payload: put_together(
            {"topic": '"messenger"', "action": '"send-message"', "payload": json.dumps(payload)}
        )
    ),
)
frames_v2 = mutated(fields_v2())


@st.composite
def framed(draw: Any, frames: "st.SearchStrategy[bytes]") -> ClientBytes:
    """A message in frames, most of them as they should be."""
    payload = draw(st.one_of(frames, frames, frames, st.binary(max_size=200)))
    how = draw(st.sampled_from(["whole", "whole", "whole", "whole", "binary", "fragments", "control", "odd"]))
    sound = len(payload) <= FRAME_BYTES and is_utf8(payload)
    if how == "whole":
        return ClientBytes(client_frame(TEXT, payload), sound=sound)
    if how == "binary":
        return ClientBytes(client_frame(BINARY, payload), sound=False)
    if how == "fragments":
        pieces = fragments(payload, draw(st.integers(2, 6)), with_pings=draw(st.booleans()))
        return ClientBytes(b"".join(pieces), sound=sound)
    if how == "control":
        opcode = draw(st.sampled_from([PING, PONG]))
        return ClientBytes(client_frame(opcode, draw(st.binary(max_size=125))))
    return ClientBytes(draw(odd_frames), sound=False)


def is_utf8(payload: bytes) -> bool:
    """Whether it is a text."""
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


def fragments(payload: bytes, count: int, *, with_pings: bool) -> Iterator[bytes]:
    """One message in several frames, some of them empty."""
    step = len(payload) // count
    for number in range(count):
        part = payload[number * step : (number + 1) * step if number < count - 1 else None]
        yield client_frame(0 if number else TEXT, part, fin=number == count - 1)
        if with_pings and number < count - 1:
            yield client_frame(PING, b"within")


def close_frame(code: int, reason: bytes) -> bytes:
    """A client's close."""
    return client_frame(CLOSE, struct.pack("!H", code) + reason)


odd_frames = st.one_of(
    st.builds(
        client_frame, st.integers(0, 15), st.binary(max_size=130), fin=st.booleans(), rsv=st.integers(0, 7)
    ),
    st.builds(client_frame, st.sampled_from([TEXT, 0, BINARY]), st.just(b"{}"), fin=st.just(False)),
    st.builds(client_frame, st.integers(0, 15), st.binary(max_size=20), masked=st.just(False)),
    st.builds(
        client_frame,
        st.sampled_from([TEXT, CLOSE, PING]),
        st.binary(max_size=20),
        size=st.sampled_from([0, 1, 126, 65_536, 262_145, 2**20, 2**40, 2**63 - 1, 2**63, 2**64 - 1]),
    ),
    st.builds(close_frame, st.integers(0, 65_535), st.binary(max_size=123)),
    st.binary(min_size=1, max_size=200),
    st.just(client_frame(TEXT, b" " * 262_145)),
    st.just(client_frame(TEXT, b'"' + b"x" * 262_142 + b'"')),
    st.just(b"".join(fragments(b"x" * 300_000, 3, with_pings=False))),
)


# ---- what they are answered ----


@dataclass
class Generation:
    """How one generation is opened, asked whether it is still there, and how its frames look."""

    path: str
    marker: bytes
    reply: bytes

    def check(self, payload: bytes) -> None:
        """A frame of the server's is one of the generation's."""
        if self.path == "/v2/ws":
            msgspec.json.decode(payload, type=ServerFrame)
            return
        told = json.loads(payload)
        assert list(told) == ["topic", "action", "payload"]
        assert told["topic"] == "messenger"
        inner = json.loads(told["payload"])
        keys = {"error": ["code", "message"], "send-message": ["chat_id", "messages"]}
        assert list(inner) == keys[told["action"]]


V1 = Generation("/messenger/ws", b'{"topic":"end","action":"a","payload":""}', b"unknown topic or action")
V2 = Generation("/v2/ws", b'{"type":"ping","id":"the end"}', b'"the end"')


class Sockets:
    """The process under test."""

    def __init__(self, directory: Path) -> None:
        self.keys = Keys()
        self.log_file = directory / "logs" / "sockets.log"
        messenger_db = MessengerDatabase(directory, self.keys)
        messenger_db.write(create_group, CHAT, USER, "a group", [OTHER], 1)
        messenger_db.close()
        self.part = RealtimeProcess(messenger_db, "sockets")
        self.part.start()
        self.process = self.part.process.process
        self.runner = asyncio.Runner()
        self.frames = 0
        # Its memory when it had seen a part of all
        self.memory_before = 0
        self.bystander = self.runner.run(
            RawSocket.open(HOST, self.part.port, V2.path, self.keys.token(OTHER))
        )

    def close(self) -> None:
        """Ends the process."""
        self.runner.run(self.bystander.close())
        self.runner.close()
        self.part.stop(signal.SIGTERM)

    def memory(self) -> int:
        """Resident bytes."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    async def open(self, generation: Generation) -> RawSocket:
        """A socket of the user's."""
        return await RawSocket.open(HOST, self.part.port, generation.path, self.keys.token(USER))

    async def send(self, generation: Generation, written: list[ClientBytes]) -> None:
        """Writes all of it and a marker, and reads up to the marker's answer or the close."""
        self.frames += len(written)
        socket = await self.open(generation)
        socket.write(*(one.wire for one in written), client_frame(TEXT, generation.marker))
        async with asyncio.timeout(ANSWER_SECONDS):
            answers = await read_answers(socket, generation, half_open=not all(one.sound for one in written))
        await socket.close()
        closes = [answer for answer in answers if answer.opcode == CLOSE]
        for close in closes:
            assert close.close_code in DOCUMENTED or close.payload in b"".join(one.wire for one in written)
        if all(one.sound for one in written):
            assert not closes
            assert any(generation.reply in answer.payload for answer in answers)

    def check(self) -> None:
        """Nothing has happened to the process, nor to anybody else."""
        assert self.process.poll() is None
        log = self.log_file.read_text()
        assert "attached to the messenger" in log
        assert "frame not handled" not in log
        assert "Traceback" not in log

        async def ping() -> None:
            self.bystander.write(client_frame(TEXT, V2.marker))
            async with asyncio.timeout(ANSWER_SECONDS):
                while (frame := await self.bystander.read()) is not None:
                    assert frame.opcode == TEXT
                    if V2.reply in frame.payload:
                        return
            raise AssertionError("the bystander's socket was closed")

        self.runner.run(ping())
        assert self.memory() - self.memory_before < MEMORY_BYTES


async def read_answers(socket: RawSocket, generation: Generation, *, half_open: bool) -> list[Frame]:
    """Frames up to the marker's answer, or to the close.

    `half_open`: the client writes no more, which ends a socket that waits for the rest of a frame.
    """
    if half_open:
        # Where the server has closed the connection already there is nothing to end
        with contextlib.suppress(OSError):
            socket.writer.write_eof()
    answers: list[Frame] = []
    while (frame := await socket.read()) is not None:
        assert frame.opcode in (TEXT, PONG, CLOSE)
        assert frame.fin
        answers.append(frame)
        if frame.opcode == TEXT:
            generation.check(frame.payload)
            if generation.reply in frame.payload and not half_open:
                break
    return answers


@pytest.fixture(scope="module")
def sockets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sockets]:
    """One process for all."""
    running = Sockets(tmp_path_factory.mktemp("sockets"))
    yield running
    running.close()


@pytest.mark.parametrize(("generation", "frames"), [(V1, frames_v1), (V2, frames_v2)], ids=["v1", "v2"])
def test_5000_odd_frames_hurt_nobody(
    sockets: Sockets, generation: Generation, frames: "st.SearchStrategy[bytes]"
) -> None:
    """Anybody with an account could end the service for all, or their own client would by a mistake."""
    began = sockets.frames

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        # Nothing is made smaller: each attempt would cost a socket
        phases=[Phase.generate],
        report_multiple_bugs=False,
    )
    @given(written=st.lists(framed(frames), min_size=FRAMES_AT_ONCE, max_size=FRAMES_AT_ONCE))
    def fuzz(written: list[ClientBytes]) -> None:
        sockets.runner.run(sockets.send(generation, written))
        if not sockets.memory_before and sockets.frames > EXAMPLES * FRAMES_AT_ONCE / 4:
            sockets.memory_before = sockets.memory()

    fuzz()
    assert sockets.frames - began >= 5_000
    sockets.check()
