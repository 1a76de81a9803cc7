"""Promise P1: what was acked is in the history at its seq, exactly once, through `kill -9` of any process."""

import asyncio
import random
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from palaver.client import Client, Message, PalaverError, Sent, Socket
from palaver.client.backoff import Backoff
from tests.harness.palaver_process import SERVICES, PalaverProcess, running_palaver
from tests.harness.users import PASSWORD
from tests.harness.waiting import wait_until

PAIRS = 4
IN_FLIGHT = 4
# In each round every service is killed once. Between waves the services are left alone for so long that the
# supervisor forgets their deaths: it pauses longer after each, and after the tenth in a row gives up.
ROUNDS_OF_WAVES = (4, 3)
CALM_SECONDS = 5.5
SECONDS_BETWEEN = (0.1, 1.9)
SEND_SECONDS = 60.0
LONGEST_PAUSE_SECONDS = 0.5


@dataclass
class Writer:
    """A user who writes and reads. `acked`: by client id; `seen`: what the socket told."""

    client: Client
    chat_id: str
    acked: dict[str, Sent] = field(default_factory=dict)
    seen: list[Message] = field(default_factory=list)
    refused: list[PalaverError] = field(default_factory=list)

    async def write(self, socket: Socket, stopping: asyncio.Event) -> None:
        """Sends one message after the other. The socket sends each again until it is acked."""
        while not stopping.is_set():
            client_id = str(uuid.uuid4())
            try:
                self.acked[client_id] = await socket.send(
                    self.chat_id, client_id, client_id=client_id, seconds=SEND_SECONDS
                )
            except PalaverError as error:
                self.refused.append(error)
            await asyncio.sleep(0.01)

    async def read(self, socket: Socket) -> None:
        """Takes what the socket tells."""
        async for event in socket:
            if isinstance(event, Message):
                self.seen.append(event)


@dataclass
class Count:
    """What a run found."""

    kills: int = 0
    acked: int = 0
    found: int = 0
    doubled: int = 0
    missing: int = 0
    moved: int = 0
    refused: int = 0
    stored: int = 0
    holes: int = 0
    not_told: int = 0
    told_twice: int = 0


async def sign_in(url: str) -> Client:
    """A new user's client."""
    client = Client(url)
    email = f"{uuid.uuid4().hex}@example.org"
    await client.sign_up(email, PASSWORD, name="Bob", surname="Tallor")
    await client.sign_in(email, PASSWORD)
    return client


async def kill_in_waves(palaver: PalaverProcess, clients: list[Client], chance: random.Random) -> int:
    """Kills services in random order, at random moments. Returns the number of kills."""
    kills = 0
    for rounds in ROUNDS_OF_WAVES:
        for service in [name for _ in range(rounds) for name in chance.sample(SERVICES, len(SERVICES))]:
            await asyncio.sleep(chance.uniform(*SECONDS_BETWEEN))
            # It may still be starting, which is a moment like any other
            await asyncio.to_thread(wait_until, lambda name=service: name in palaver.pids, f"{service} runs")
            await asyncio.to_thread(palaver.kill, service)
            kills += 1
        await wait_restarted(palaver, clients)
        if rounds is not ROUNDS_OF_WAVES[-1]:
            await asyncio.sleep(CALM_SECONDS)
    return kills


async def wait_restarted(palaver: PalaverProcess, clients: list[Client]) -> None:
    """Returns when every service answers again."""
    async with asyncio.timeout(30):
        for client in clients:
            while True:
                try:
                    await client.me()
                    await client.chats()
                    break
                except PalaverError:
                    await asyncio.sleep(0.1)
    wait_until(lambda: len(palaver.pids) == len(SERVICES), "all services run")


async def run_writer(writer: Writer, stopping: asyncio.Event, all_written: asyncio.Barrier) -> None:
    """One user's life, until all its sends are answered and all it is to be told was told."""
    live = writer.client.socket({writer.chat_id: 0})
    # By itself it waits up to half a minute after a row of crashes, and this is one long row
    live._backoff = Backoff(random.random, longest=LONGEST_PAUSE_SECONDS)
    async with live as socket:
        reading = asyncio.create_task(writer.read(socket))
        await asyncio.gather(*(writer.write(socket, stopping) for _ in range(IN_FLIGHT)))
        await all_written.wait()
        last = (await writer.client.chat(writer.chat_id)).last_seq
        async with asyncio.timeout(30):
            while socket.cursors.get(writer.chat_id, 0) < last:  # noqa: ASYNC110 - moved by the server
                await asyncio.sleep(0.05)
            await socket.caught_up()
        await socket.close()
        await reading


async def compare(writers: list[Writer], count: Count) -> None:
    """Counts what the history says of what was acked and told."""
    for one, other in zip(writers[::2], writers[1::2], strict=True):
        history = [message async for message in one.client.all_messages(one.chat_id)]
        count.stored += len(history)
        count.holes += sum(message.seq != number for number, message in enumerate(history, 1))
        by_client_id = Counter(message.client_id for message in history)
        count.doubled += sum(times - 1 for times in by_client_id.values())
        places = {message.client_id: (message.seq, message.id, message.text) for message in history}
        for writer, reader in ((one, other), (other, one)):
            count.acked += len(writer.acked)
            count.refused += len(writer.refused)
            for client_id, sent in writer.acked.items():
                if client_id not in places:
                    count.missing += 1
                elif places[client_id] != (sent.seq, sent.id, client_id):
                    count.moved += 1
                else:
                    count.found += 1
            seen = Counter(message.seq for message in reader.seen)
            count.told_twice += sum(times - 1 for times in seen.values())
            theirs = {m.seq for m in history if m.sender_id == writer.client.user_id}
            count.not_told += len(theirs - set(seen))


@pytest.mark.parametrize("seed", [random.randrange(10**9)])
async def test_acked_messages_survive_kills(tmp_path: Path, seed: int) -> None:
    """People would lose messages that were shown to them as sent, or read them twice, after any crash."""
    chance = random.Random(seed)
    began = time.monotonic()
    count = Count()
    with running_palaver(tmp_path) as palaver:
        clients = [await sign_in(palaver.base_url) for _ in range(2 * PAIRS)]
        try:
            writers = []
            for one, other in zip(clients[::2], clients[1::2], strict=True):
                chat = await one.open_chat(other.user_id)
                writers += [Writer(one, chat.id), Writer(other, chat.id)]
            stopping, all_written = asyncio.Event(), asyncio.Barrier(len(writers))
            async with asyncio.TaskGroup() as group:
                for writer in writers:
                    group.create_task(run_writer(writer, stopping, all_written))
                count.kills = await kill_in_waves(palaver, clients, chance)
                stopping.set()
            await compare(writers, count)
        finally:
            for client in clients:
                await client.close()
    causes = {f"{error.kind.code}: {error.message}" for writer in writers for error in writer.refused}
    report = f"seed {seed}, {time.monotonic() - began:.0f} s: {count} {causes or ''}"
    print(report)  # noqa: T201 - the counts are what whoever runs this wants to see
    assert count.kills >= 20, report
    assert count.acked >= 100 * PAIRS, report
    expected = Count(count.kills, count.acked, found=count.acked, stored=count.stored)
    assert count == expected, f"{report}\n{palaver.output}"
