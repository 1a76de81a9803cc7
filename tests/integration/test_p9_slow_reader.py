"""P9: who does not read is cut off with 4008, while others go on, and may come back and resume."""

import asyncio
import json
import struct
from typing import Any

import psutil

from palaver.contracts.errors import SLOW_READER
from palaver.contracts.ids import new_id, text_from_id
from tests.harness.keys import Keys
from tests.harness.messenger_database import MessengerDatabase
from tests.harness.raw_socket import CLOSE, PING, PONG, TEXT, RawSocket, client_frame
from tests.harness.realtime import HOST, Gateway, running_gateway
from tests.harness.realtime_process import RealtimeProcess
from tests.harness.waiting import eventually
from tests.harness.websocket_client import WebSocketClientV2

QUEUE_BYTES = 128 * 1024
TEXT_CHARACTERS = 8_000
MESSAGES = 2_000
SLOW = 5
FAST = 3
# Of what all sockets together may have waiting in this process: a small part of what was sent
MEMORY_BYTES = 48 * 1024 * 1024
# A port without a messenger: pings need none
NOBODY = 1
# Sent in pings, whose answers nobody reads: more than two sockets may have waiting
PING_BYTES = 64 * 1024 * 1024


class Fast(WebSocketClientV2):
    """Reads at once, and keeps no more than seqs."""

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        """See `WSListener`."""
        super().on_ws_frame(transport, frame)
        if self.received and len(self.received[-1]) > TEXT_CHARACTERS:
            message = json.loads(self.received.pop())
            self.received.append(json.dumps({**message, "text": ""}).encode())


class Most:
    """The most that waited for any socket, and the most memory that this process had."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.waiting = 0
        self.memory = 0

    async def watch(self) -> None:
        """Looks again and again."""
        process = psutil.Process()
        while True:
            for socket in self.gateway.registry.open.values():
                self.waiting = max(self.waiting, socket.websocket.waiting())
            self.memory = max(self.memory, process.memory_info().rss)
            await asyncio.sleep(0.002)


async def send_all(sender: WebSocketClientV2, chat_id: bytes) -> None:
    """Sends everything, about a hundred messages in flight."""
    for number in range(MESSAGES):
        sender.send_message(chat_id, f"{number:08}" * (TEXT_CHARACTERS // 8))
        if number % 50 == 49:
            await eventually(lambda sent=number + 1: sent - len(sender.received) < 100, "acknowledged")
    await eventually(lambda: len(sender.acks) == MESSAGES, "all acknowledged")


async def read_to_close(socket: RawSocket) -> tuple[list[int], int | None]:
    """The seqs of a socket's messages, and its close code."""
    seqs = []
    while (frame := await socket.read()) is not None:
        if frame.opcode == CLOSE:
            return seqs, frame.close_code
        told = json.loads(frame.payload)
        if told["type"] == "message":
            seqs.append(told["seq"])
    return seqs, None


async def resume(gateway: Gateway, user_id: bytes, chat_id: bytes, cursor: int) -> list[int]:
    """The seqs that a resume tells."""
    socket = await WebSocketClientV2.open(gateway, "/v2/ws", user_id)
    await eventually(lambda: socket.frames("hello"), "hello")
    socket.resume({chat_id: cursor})
    await eventually(lambda: any(b'"resumed"' in told[:40] for told in reversed(socket.received)), "resumed")
    return socket.seqs


async def test_p9_a_slow_reader_is_cut_and_harms_nobody(messenger_db: MessengerDatabase) -> None:
    """One phone in a tunnel would fill the gateway's memory, and end the service for all."""
    users = [new_id() for _ in range(SLOW + FAST)]
    chat_id = messenger_db.group(users)
    with RealtimeProcess(messenger_db).running() as messenger:
        async with running_gateway(
            messenger_db.keys, messenger.port, socket_queue_bytes=QUEUE_BYTES
        ) as gateway:
            slow = [
                # Reads little more than its handshake
                await RawSocket.open(HOST, gateway.port, "/v2/ws", messenger_db.keys.token(user), limit=1024)
                for user in users[:SLOW]
            ]
            fast = [await Fast.open(gateway, "/v2/ws", user) for user in users[SLOW:]]
            await eventually(lambda: all(socket.frames("hello") for socket in fast), "attached")
            most = Most(gateway)
            watching = asyncio.create_task(most.watch())
            await asyncio.sleep(0.05)
            before = most.memory
            await send_all(fast[0], chat_id)
            seqs = list(range(1, MESSAGES + 1))
            await eventually(lambda: all(len(s.received) > MESSAGES for s in fast[1:]), "others told")
            assert all(socket.seqs == seqs and socket.closed is None for socket in fast[1:])
            await eventually(lambda: gateway.sockets.count() == FAST, "slow readers cut")
            watching.cancel()
            # The queue, and what one batch may add before it is looked at
            assert most.waiting < 8 * QUEUE_BYTES + 100 * TEXT_CHARACTERS * 2
            assert most.memory - before < MEMORY_BYTES < MESSAGES * TEXT_CHARACTERS * SLOW
            for user, socket in zip(users[:SLOW], slow, strict=True):
                told, code = await read_to_close(socket)
                assert code == SLOW_READER.close
                assert told == seqs[: len(told)]
                assert len(told) < MESSAGES
                await socket.close()
                assert await resume(gateway, user, chat_id, len(told)) == seqs[len(told) :]


async def test_p9_a_resume_waits_for_its_reader(messenger_db: MessengerDatabase) -> None:
    """A client that comes back after a week would be cut for what it asked for, again and again."""
    users = [new_id(), new_id()]
    chat_id = messenger_db.direct(*users)
    with RealtimeProcess(messenger_db).running() as messenger:
        async with running_gateway(
            messenger_db.keys, messenger.port, socket_queue_bytes=QUEUE_BYTES * 8
        ) as gateway:
            sender = await Fast.open(gateway, "/v2/ws", users[0])
            await eventually(lambda: sender.frames("hello"), "attached")
            await send_all(sender, chat_id)
            socket = await RawSocket.open(
                HOST, gateway.port, "/v2/ws", messenger_db.keys.token(users[1]), limit=1024
            )
            cursors = {text_from_id(chat_id): 0}
            socket.write(client_frame(TEXT, json.dumps({"type": "resume", "cursors": cursors}).encode()))
            seqs = []
            while (frame := await socket.read()) is not None:
                told = json.loads(frame.payload)
                assert told["type"] in ("hello", "message", "resumed", "presence")
                if told["type"] == "resumed":
                    break
                if told["type"] == "message":
                    seqs.append(told["seq"])
                    # 16 MB at this pace take longer than they take to be read from the journal
                    await asyncio.sleep(0.001)
            assert seqs == list(range(1, MESSAGES + 1))
            await socket.close()


async def test_p9_pings_whose_answers_nobody_reads_end_as_slow_reading() -> None:
    """One client could fill the memory of the gateway, and end the service for all, with pings alone."""
    pings = client_frame(PING, b"x" * 125) * 2_000
    async with running_gateway(Keys(), NOBODY, socket_queue_bytes=QUEUE_BYTES) as gateway:
        token = gateway.keys.token(new_id())
        socket = await RawSocket.open(HOST, gateway.port, "/v2/ws", token, limit=1024)
        await eventually(lambda: gateway.sockets.count() == 1, "open")
        most = Most(gateway)
        watching = asyncio.create_task(most.watch())
        await asyncio.sleep(0.05)
        before = most.memory
        sent = 0
        while sent < PING_BYTES and gateway.sockets.count():
            socket.write(pings)
            sent += len(pings)
            await socket.writer.drain()
        await eventually(lambda: not gateway.sockets.count(), "cut")
        watching.cancel()
        # What is parsed in one turn is looked at in the next
        assert most.waiting < 8 * QUEUE_BYTES
        assert most.memory - before < MEMORY_BYTES
        # Not frame by frame: there are many thousand pongs
        close = struct.pack("!H", SLOW_READER.close) + SLOW_READER.title.encode()
        last = b""
        while not last.endswith(close) and (read := await socket.reader.read(65_536)):
            last = (last + read)[-200:]
        assert last.endswith(close)
        await socket.close()


async def test_p9_each_ping_of_a_peer_that_reads_is_answered() -> None:
    """A client that measures its connection by pings would be cut, or miss answers."""
    async with running_gateway(Keys(), NOBODY, socket_queue_bytes=QUEUE_BYTES) as gateway:
        socket = await RawSocket.open(HOST, gateway.port, "/v2/ws", gateway.keys.token(new_id()))
        for round_ in range(200):
            payloads = [b"%d-%d" % (round_, number) + b"x" * 100 for number in range(100)]
            socket.write(*(client_frame(PING, payload) for payload in payloads))
            for payload in payloads:
                frame = await socket.read()
                assert frame is not None
                assert frame.payload == payload
        await socket.close()


async def test_p9_who_reads_again_gets_the_answer_to_the_last_ping() -> None:
    """A client behind a slow network would take the server for dead."""
    async with running_gateway(Keys(), NOBODY, socket_queue_bytes=64 * QUEUE_BYTES) as gateway:
        token = gateway.keys.token(new_id())
        socket = await RawSocket.open(HOST, gateway.port, "/v2/ws", token, limit=1024)
        await eventually(lambda: gateway.sockets.count() == 1, "open")
        websocket = gateway.registry.open[1].websocket
        while not websocket._pong_bytes:
            socket.write(client_frame(PING, b"x" * 125) * 2_000)
            await socket.writer.drain()
        socket.write(client_frame(PING, b"the last"))
        async with asyncio.timeout(10):
            while (frame := await socket.read()) is not None and frame.payload != b"the last":
                assert frame.opcode == PONG
        assert frame is not None
        assert gateway.sockets.count() == 1
        await socket.close()
