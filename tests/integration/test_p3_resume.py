"""P3: a client whose connection is cut again and again gets every message that it missed, once, in order."""

import asyncio
import random

import pytest

from palaver.contracts.ids import new_id, text_from_id
from tests.harness.messenger_database import MessengerDatabase
from tests.harness.realtime import Gateway, running_gateway, serving_replica
from tests.harness.waiting import eventually
from tests.harness.websocket_client import WebSocketClientV2

# Several pages of a resume
BEFORE = 450
SENDS = 400
READERS = 6


class Reader:
    """A client of one chat that keeps a cursor, and nothing else, between its connections."""

    def __init__(self, user_id: bytes, chat_id: bytes) -> None:
        self.user_id = user_id
        self.chat_id = chat_id
        self.texts: list[str] = []
        self.connections = 0
        self.cut_within_resume = 0
        self._socket: WebSocketClientV2 | None = None

    @property
    def cursor(self) -> int:
        """The last seq seen."""
        return len(self.texts)

    async def connect(self, gateway: Gateway) -> None:
        """Connects, and resumes as soon as it may."""
        self._socket = socket = await WebSocketClientV2.open(gateway, "/v2/ws", self.user_id)
        self.connections += 1
        await eventually(lambda: socket.frames("hello") or socket.closed is not None, "hello")
        socket.resume({self.chat_id: self.cursor})

    async def cut(self) -> None:
        """Loses the connection, and takes what came through it."""
        socket = self._socket
        assert socket is not None
        socket.disconnect()
        await eventually(lambda: socket.closed is not None, "cut")
        self.cut_within_resume += not socket.frames("resumed")
        assert not socket.frames("error")
        self.take(socket)

    def take(self, socket: WebSocketClientV2) -> None:
        """Adds what one connection told: from the cursor on, without a hole, each once.

        What was told before the server heard of the resume may come before that.
        """
        frames = socket.frames("message")
        seqs = [frame["seq"] for frame in frames]
        starts = [index for index, seq in enumerate(seqs) if seq == self.cursor + 1]
        early = seqs[: starts[-1]] if starts else seqs
        assert early == sorted(set(early)), seqs
        assert all(seq > self.cursor for seq in early), seqs
        if starts:
            told = frames[starts[-1] :]
            first = self.cursor + 1
            assert [frame["seq"] for frame in told] == list(range(first, first + len(told))), seqs
            assert {frame["chat_id"] for frame in told} == {text_from_id(self.chat_id)}
            self.texts += [frame["text"] for frame in told]

    async def read_to_the_end(self, gateway: Gateway) -> None:
        """Connects once more, until all is told."""
        await self.connect(gateway)
        socket = self._socket
        assert socket is not None
        await eventually(lambda: socket.frames("resumed"), "resumed")
        await self.cut()

    async def read_through_cuts(self, gateway: Gateway, chance: random.Random, done: asyncio.Event) -> None:
        """Connects and is cut until all is sent."""
        while not done.is_set():
            await self.connect(gateway)
            await asyncio.sleep(chance.uniform(0, 0.15))
            await self.cut()


async def send_all(gateway: Gateway, user_id: bytes, chat_id: bytes) -> None:
    """Sends from a socket of its own, some of it at once."""
    sender = await WebSocketClientV2.open(gateway, "/v2/ws", user_id)
    for number in range(SENDS):
        sender.send_message(chat_id, f"message {number}")
        if number % 10 == 0:
            await asyncio.sleep(0.05)
    await eventually(lambda: len(sender.acks) == SENDS, "all acknowledged")


@pytest.mark.parametrize("seed", range(2))
async def test_p3_a_client_that_is_cut_misses_nothing_and_sees_nothing_twice(
    messenger_db: MessengerDatabase, seed: int
) -> None:
    """People on bad networks would lose messages, or read them twice."""
    chance = random.Random(seed)
    users = [new_id() for _ in range(READERS + 1)]
    chat_id = messenger_db.group(users)
    async with (
        serving_replica(messenger_db) as (replica, port),
        running_gateway(messenger_db.keys, port) as gateway,
    ):
        for start in range(0, BEFORE, 50):
            texts = [f"before {number}" for number in range(start, start + 50)]
            await replica.engine.send(chat_id, users[0], [new_id() for _ in texts], texts, retry=False)
        done = asyncio.Event()
        readers = [Reader(user_id, chat_id) for user_id in users[1:]]
        reading = [asyncio.create_task(r.read_through_cuts(gateway, chance, done)) for r in readers]
        await send_all(gateway, users[0], chat_id)
        done.set()
        await asyncio.gather(*reading)
        history = [message.text for message in messenger_db.history(chat_id)]
        assert len(history) == BEFORE + SENDS
        for reader in readers:
            await reader.read_to_the_end(gateway)
            assert reader.texts == history
        assert sum(reader.connections for reader in readers) > 5 * READERS
        assert sum(reader.cut_within_resume for reader in readers) > 0
