"""One run of a campaign on a deployment: users at both gateways, faults, and the counts."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path

from palaver.client import Client
from tests.campaign.counts import Counts, count_chat, count_repeats
from tests.campaign.deployed_faults import Pace, run_faults
from tests.campaign.run import Outcome
from tests.campaign.watchers import Watcher
from tests.campaign.writers import SETTLE_SECONDS, Writer, sign_in
from tests.harness.killable_deployment import REPLICAS, Deployment, running_deployment

CHATS = 3
# In each chat, so many write and so many only read
WRITERS = REPLICAS
WATCHERS = 2
# Of each writer: while a service is away, sends are repeated after pauses that grow
IN_FLIGHT = 16
# So many acknowledged sends of each writer are repeated at the end
REPEATS = 10
CALM = Pace()


async def run_deployed(directory: Path, seed: int, faults: int, pace: Pace = CALM) -> Outcome:
    """Lets so many faults happen while users write."""
    began = time.monotonic()
    chance = random.Random(seed)
    outcome = Outcome(seed)
    async with running_deployment(directory) as deployment, signed_in(deployment) as clients:
        rooms = [await open_room(deployment, clients[n::CHATS], chance) for n in range(CHATS)]
        writers = [writer for room, _ in rooms for writer in room]
        watchers = [watcher for _, watching in rooms for watcher in watching]

        def cut() -> None:
            for member in (*writers, *watchers):
                member.cut()

        async def send_all_once() -> None:
            # When it stands still
            await asyncio.sleep(1.0)
            await asyncio.gather(*(writer.send_once() for writer in writers for _ in range(REPEATS)))

        stopping, all_written = asyncio.Event(), asyncio.Barrier(len(writers))
        async with asyncio.TaskGroup() as group:
            reading = [group.create_task(watcher.run()) for watcher in watchers]
            writing = [group.create_task(writer.run(stopping, all_written)) for writer in writers]
            outcome.happened += await run_faults(
                deployment, faults, pace, chance, cut, lambda: asyncio.create_task(send_all_once())
            )
            await deployment.wait_ready()
            stopping.set()
            await asyncio.wait(writing)
            await settle(watchers, writers)
            for task in reading:
                task.cancel()
        outcome.counts = await count_rooms(rooms, chance)
        outcome.causes = {f"{e.kind.code}: {e.message}" for writer in writers for e in writer.refused}
        outcome.output = "\n".join(deployment.exits)
    outcome.seconds = time.monotonic() - began
    return outcome


@contextlib.asynccontextmanager
async def signed_in(deployment: Deployment) -> AsyncIterator[list[Client]]:
    """All members' clients, in turn at both gateways. Those of one chat are `CHATS` apart."""
    clients: list[Client] = []
    try:
        while len(clients) < (WRITERS + WATCHERS) * CHATS:
            clients.append(await sign_in(deployment.urls[len(clients) // CHATS % REPLICAS]))
        yield clients
    finally:
        for client in clients:
            await client.close()


async def open_room(
    deployment: Deployment, clients: list[Client], chance: random.Random
) -> tuple[list[Writer], list[Watcher]]:
    """A group of these: some write, the others watch."""
    chat = await clients[0].create_group("Room", [client.user_id for client in clients[1:]])
    writers = [Writer(client, chat.id, IN_FLIGHT) for client in clients[:WRITERS]]
    watchers = [
        Watcher(client, chat.id, deployment.urls, random.Random(chance.random()))
        for client in clients[WRITERS:]
    ]
    return writers, watchers


async def settle(watchers: list[Watcher], writers: list[Writer]) -> None:
    """Returns when all watchers were told everything, or should have been: what is missing is counted."""
    last = {writer.chat_id: (await writer.client.chat(writer.chat_id)).last_seq for writer in writers}
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SETTLE_SECONDS):
            while any(watcher.seen < last[watcher.chat_id] for watcher in watchers):  # noqa: ASYNC110
                await asyncio.sleep(0.05)


async def count_rooms(rooms: list[tuple[list[Writer], list[Watcher]]], chance: random.Random) -> Counts:
    """The counts of all chats, once some of their messages have been sent again."""
    counts = Counts()
    for writers, watchers in rooms:
        for writer in writers:
            known = chance.sample(list(writer.acked), min(REPEATS, len(writer.acked)))
            await count_repeats(writer, known, counts)
        for watcher in watchers:
            watcher.settle()
        await count_chat(writers, watchers, counts)
    return counts
