"""P9: who does not read is cut off with 4008, while others go on, and may come back and resume."""

import asyncio
import json
from pathlib import Path
from typing import Any

import psutil

from palaver.contracts.errors import SLOW_READER
from palaver.contracts.ids import new_id, text_from_id
from tests.harness.messenger_process import MessengerProcess
from tests.harness.raw_socket import CLOSE, TEXT, RawSocket, client_frame
from tests.harness.realtime import HOST, Gateway, Place, eventually, running_gateway
from tests.harness.websocket_clients import ListeningV2

QUEUE_BYTES = 128 * 1024
TEXT_CHARACTERS = 8_000
MESSAGES = 2_000
SLOW = 5
FAST = 3
# Of what all sockets together may have waiting in this process: a small part of what was sent
MEMORY_BYTES = 48 * 1024 * 1024


class Fast(ListeningV2):
    """Reads at once, and keeps no more than seqs."""

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        """See `WSListener`."""
        super().on_ws_frame(transport, frame)
        if self.told and len(self.told[-1]) > TEXT_CHARACTERS:
            message = json.loads(self.told.pop())
            self.told.append(json.dumps({**message, "text": ""}).encode())


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


async def send_all(sender: ListeningV2, chat_id: bytes) -> None:
    """Sends everything, about a hundred messages in flight."""
    for number in range(MESSAGES):
        sender.send(chat_id, f"{number:08}" * (TEXT_CHARACTERS // 8))
        if number % 50 == 49:
            await eventually(lambda sent=number + 1: sent - len(sender.told) < 100, "acknowledged")
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
    socket = await ListeningV2.open(gateway, "/v2/ws", user_id)
    await eventually(lambda: socket.frames("hello"), "hello")
    socket.resume({chat_id: cursor})
    await eventually(lambda: any(b'"resumed"' in told[:40] for told in reversed(socket.told)), "resumed")
    return socket.seqs


async def test_p9_a_slow_reader_is_cut_and_harms_nobody(tmp_path: Path) -> None:
    """One phone in a tunnel would fill the gateway's memory, and end the service for all."""
    place = Place(tmp_path)
    users = [new_id() for _ in range(SLOW + FAST)]
    chat_id = place.group(users)
    with MessengerProcess(place).running() as messenger:
        async with running_gateway(place.keys, messenger.port, socket_queue_bytes=QUEUE_BYTES) as gateway:
            slow = [
                # Reads little more than its handshake
                await RawSocket.open(HOST, gateway.port, "/v2/ws", place.keys.token(user), limit=1024)
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
            await eventually(lambda: all(len(s.told) > MESSAGES for s in fast[1:]), "others told")
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
    place.close()


async def test_p9_a_resume_waits_for_its_reader(tmp_path: Path) -> None:
    """A client that comes back after a week would be cut for what it asked for, again and again."""
    place = Place(tmp_path)
    users = [new_id(), new_id()]
    chat_id = place.direct(*users)
    with MessengerProcess(place).running() as messenger:
        async with running_gateway(place.keys, messenger.port, socket_queue_bytes=QUEUE_BYTES * 8) as gateway:
            sender = await Fast.open(gateway, "/v2/ws", users[0])
            await eventually(lambda: sender.frames("hello"), "attached")
            await send_all(sender, chat_id)
            socket = await RawSocket.open(
                HOST, gateway.port, "/v2/ws", place.keys.token(users[1]), limit=1024
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
    place.close()
