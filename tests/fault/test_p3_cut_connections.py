"""Promise P3: a client that reconnects with its cursors gets every message that it missed, once."""

import asyncio
import json
import random
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from palaver.client import Client, Message
from tests.harness.palaver_process import PalaverProcess
from tests.harness.seeds import new_seed
from tests.harness.users import ApiUser, api_client, v2_send
from tests.harness.websocket_client import WebSocketClient

READERS = 6
WRITERS = 3
CHATS = 3
SECONDS = 12.0
SECONDS_UNCUT = (0.0, 0.6)
SECONDS_AWAY = (0.0, 0.3)


@dataclass
class Reader:
    """A device that knows where it stopped, and asks for what is behind that as soon as it is back.

    `seen`: chat id -> its messages' ids, as they came, over all connections.
    """

    user: ApiUser
    chat_ids: Sequence[str]
    seen: dict[str, list[str]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    connections: int = 0
    cut: int = 0

    @property
    def cursors(self) -> dict[str, int]:
        """The last seq seen of each chat."""
        return {chat_id: len(self.seen.get(chat_id, ())) for chat_id in self.chat_ids}

    async def read(self, ending: Callable[[], bool], chance: random.Random) -> None:
        """Connects and is cut, again and again."""
        while not ending():
            wire = await self.connect()
            uncut = chance.uniform(*SECONDS_UNCUT)
            reading = asyncio.create_task(self.read_frames(wire))
            await asyncio.wait((reading,), timeout=uncut)
            if not reading.done():
                self.cut += 1
                wire.disconnect()
            await reading
            await asyncio.sleep(chance.uniform(*SECONDS_AWAY))

    async def finish(self, last_seqs: dict[str, int]) -> None:
        """One last connection, until nothing is missing."""
        wire = await self.connect()
        reading = asyncio.create_task(self.read_frames(wire, last_seqs))
        await asyncio.wait((reading,), timeout=20)
        wire.disconnect()
        await reading

    async def connect(self) -> WebSocketClient:
        """A new socket, and at once a resume. The `pong` shows that the server has it."""
        self.connections += 1
        wire = await WebSocketClient.connect(self.user.api.ws_url + "/v2/ws", "Bearer " + self.user.token)
        wire.send({"type": "resume", "cursors": self.cursors})
        wire.send({"type": "ping"})
        return wire

    async def read_frames(self, wire: WebSocketClient, until: dict[str, int] | None = None) -> None:
        """Takes frames until the connection ends, or until the cursors are `until`.

        A message before the `pong` may leave a hole, which the resume fills, or come again with it. From then
        on each message must come once, and in order. Before `hello` only the gateway's own replies come.
        """
        greeted = resumed = False
        early: set[str] = set()
        while until is None or self.cursors != until:
            text = await wire.next_frame()
            if text is None:
                return
            frame = json.loads(text)
            if (frame["type"] == "hello") == greeted and frame["type"] != "pong":
                self.wrong.append(f"connection {self.connections}: {frame['type']}, greeted: {greeted}")
            greeted = greeted or frame["type"] == "hello"
            resumed = resumed or frame["type"] == "pong"
            if frame["type"] == "message":
                is_next = self.take(frame)
                if not resumed:
                    early.add(frame["id"])
                elif not is_next and frame["id"] not in early:
                    self.wrong.append(f"connection {self.connections}: seq {frame['seq']} in {self.cursors}")
            elif frame["type"] == "error":
                self.wrong.append(text)

    def take(self, frame: dict[str, object]) -> bool:
        """Notes a message if it is the next one of its chat. Returns whether it was."""
        seen = self.seen.setdefault(str(frame["chat_id"]), [])
        if frame["seq"] != len(seen) + 1:
            return False
        seen.append(str(frame["id"]))
        return True


async def write(
    user: ApiUser, chat_ids: Sequence[str], ending: Callable[[], bool], chance: random.Random
) -> int:
    """Writes into all chats until the end, several messages at once. Returns the number of messages."""
    written = 0
    async with user.socket_v2() as wire:
        while not ending():
            many = chance.randint(1, 5)
            for _ in range(many):
                wire.send(v2_send(chance.choice(chat_ids), uuid.uuid4().hex))
            for _ in range(many):
                await wire.receive_type("sent")
            written += many
            await asyncio.sleep(chance.uniform(0, 0.02))
    return written


async def make_groups(members: Sequence[ApiUser], number: int) -> list[str]:
    """Groups of all members."""
    first, *others = members
    body = {"title": "Tour", "member_ids": [user.user_id for user in others]}
    return [(await first.v2("POST", "/chats", body)).ok(201)["id"] for _ in range(number)]


@pytest.mark.parametrize("seed", [new_seed()])
async def test_cut_sockets_miss_nothing(shared_palaver: PalaverProcess, seed: int) -> None:
    """A phone in a tunnel would lose messages, or show them twice, without anybody noticing."""
    chance = random.Random(seed)
    async with api_client(shared_palaver) as api:
        users = [await api.sign_up() for _ in range(READERS + WRITERS)]
        chat_ids = await make_groups(users, CHATS)
        readers = [Reader(user, chat_ids) for user in users[:READERS]]
        end = asyncio.get_running_loop().time() + SECONDS

        def ending() -> bool:
            return asyncio.get_running_loop().time() > end

        counts = await asyncio.gather(
            *(write(user, chat_ids, ending, chance) for user in users[READERS:]),
            *(reader.read(ending, chance) for reader in readers),
        )
        histories = {chat_id: await users[0].history(chat_id) for chat_id in chat_ids}
        last_seqs = {chat_id: len(history) for chat_id, history in histories.items()}
        for reader in readers:
            await reader.finish(last_seqs)
    cuts = sum(reader.cut for reader in readers)
    wrong = [text for reader in readers for text in reader.wrong]
    written = sum(counts[:WRITERS])
    report = f"seed {seed}: {written} messages, {cuts} cuts, {len(wrong)} wrong, e.g. {wrong[:5]}"
    print(report)  # noqa: T201 - the counts are what whoever runs this wants to see
    assert written == sum(last_seqs.values()), report
    assert cuts >= 10 * READERS, report
    assert not wrong, report
    for reader in readers:
        assert reader.seen == {c: [m["id"] for m in history] for c, history in histories.items()}, report


@pytest.mark.parametrize("seed", [new_seed()])
async def test_our_own_client_misses_nothing(shared_palaver: PalaverProcess, seed: int) -> None:
    """Bots written with the client would act twice on a message, or never."""
    chance = random.Random(seed)
    async with api_client(shared_palaver) as api:
        users = [await api.sign_up() for _ in range(3)]
        chat_ids = await make_groups(users, CHATS)
        end = asyncio.get_running_loop().time() + SECONDS / 2

        def ending() -> bool:
            return asyncio.get_running_loop().time() > end

        async with Client(api.url) as client:
            await client.sign_in(users[0].email, "correct horse")
            async with client.socket(dict.fromkeys(chat_ids, 0)) as socket:
                cutting = asyncio.create_task(cut_sockets(client, ending, chance))
                writing = [write(user, chat_ids, ending, chance) for user in users[1:]]
                written = sum(await asyncio.gather(*writing))
                cuts = await cutting
                seen: dict[str, list[str]] = {chat_id: [] for chat_id in chat_ids}
                async with asyncio.timeout(30):
                    while sum(map(len, seen.values())) < written:
                        event = await anext(socket)
                        if isinstance(event, Message):
                            seen[event.chat_id].append(event.id)
        histories = {chat_id: [m["id"] for m in await users[0].history(chat_id)] for chat_id in chat_ids}
    report = f"seed {seed}: {written} messages, {cuts} cuts"
    print(report)  # noqa: T201 - the counts are what whoever runs this wants to see
    assert cuts >= 5, report
    assert seen == histories, report


async def cut_sockets(client: Client, ending: Callable[[], bool], chance: random.Random) -> int:
    """Resets the client's TCP connections at random. Returns how many."""
    cuts = 0
    while not ending():
        await asyncio.sleep(chance.uniform(0.05, 0.5))
        connector = client._rest.session.connector
        assert connector is not None
        for protocol in list(connector._acquired):
            if protocol.transport is not None:
                protocol.transport.abort()
                cuts += 1
    return cuts
