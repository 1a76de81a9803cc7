"""Shards that freeze, die, and do not come after with their merges."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from palaver.contracts.errors import UNAVAILABLE, PalaverError
from palaver.contracts.ids import new_id
from palaver.messenger.archive import statements
from palaver.messenger.archive.archiver import Archiver
from palaver.messenger.archive.nodes import Address
from palaver.messenger.archive.rows import to_row
from palaver.messenger.archive.trimming import Margin
from palaver.messenger.domain import Message
from palaver.messenger.store.segments import read_segments
from tests.harness.archive import Archive, running_archive, settle
from tests.harness.clickhouse import ClickHouseCluster, running_clickhouse
from tests.harness.messenger_database import MessengerDatabase
from tests.harness.waiting import WAIT_SECONDS, wait_until

ALICE, BOB = new_id(), new_id()
# Rows that come one a second, for ten minutes
SECONDS = 600
MOST_PARTS = 100


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseCluster]:
    """A cluster whose nodes a test may stop. It starts them again."""
    with running_clickhouse(tmp_path_factory.mktemp("cluster"), shards=2) as cluster:
        yield cluster


@pytest_asyncio.fixture
async def archive(messenger_db: MessengerDatabase, cluster: ClickHouseCluster) -> AsyncIterator[Archive]:
    """A journal with an archive behind it, whose nodes must answer within a second."""
    async with running_archive(messenger_db, cluster, answer_seconds=1.0) as archive:
        yield archive


@dataclass
class Split:
    """Chats on either shard, archived, and an archiver that goes on."""

    archiver: Archiver
    chats: dict[int, list[bytes]]


async def fill(archive: Archive) -> Split:
    """Ten messages in each of some chats on each shard, all archived."""
    chats = [archive.messenger_db.direct(ALICE, new_id()) for _ in range(24)]
    for chat_id in chats:
        archive.send(chat_id, ALICE, [f"{n}" for n in range(10)])
    archiver = await archive.archiver(Margin(1, 0.0))
    await archiver.begin()
    await settle(archiver)
    split: dict[int, list[bytes]] = {0: [], 1: []}
    for chat_id in chats:
        (segment,) = await archive.database.read(read_segments, chat_id, 1, 1)
        split[segment.shard_id].append(chat_id)
    assert min(map(len, split.values())) >= 2
    return Split(archiver, split)


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
async def test_a_shard_away_leaves_the_others_alone(
    archive: Archive, cluster: ClickHouseCluster, number: signal.Signals
) -> None:
    """One broken node would take all histories along, or stop new messages, or lose what waits for it."""
    split = await fill(archive)
    cluster.shards[0].send(number)
    try:
        await check_reading(archive, split)
        await check_archiving(archive, split)
    finally:
        if number == signal.SIGSTOP:
            cluster.shards[0].send(signal.SIGCONT)
        else:
            cluster.shards[0].restart()
    await settle_when_back(split.archiver)
    for chat_id in (*split.chats[0], *split.chats[1]):
        assert archive.journal(chat_id) == [11]
        assert [one.seq for one in await archive.history(chat_id)] == list(range(1, 12))


async def check_reading(archive: Archive, split: Split) -> None:
    """Many want the shard that is away; whoever wants the other gets it."""
    reader = archive.reader
    wanted = [
        chat_id for pair in zip(split.chats[0] * 9, split.chats[1] * 9, strict=False) for chat_id in pair
    ]
    pages = await asyncio.gather(
        *(reader.page(chat_id, ALICE, 50, before=0, after=None) for chat_id in wanted), return_exceptions=True
    )
    for chat_id, page in zip(wanted, pages, strict=True):
        if chat_id in split.chats[1]:
            assert not isinstance(page, BaseException), page
            assert len(page.rows) == 10
        else:
            assert isinstance(page, PalaverError)
            assert page.kind is UNAVAILABLE
            assert page.message == "messages 1 to 9 of this chat are in a part of the archive that is away"
    # What is in the journal still is
    for chat_id in split.chats[0]:
        page = await reader.page(chat_id, ALICE, 1, before=0, after=None)
        assert len(page.rows) == 1
    previews = await reader.previews([(chat_id, 1) for chats in split.chats.values() for chat_id in chats])
    assert sorted(chat_id for chat_id, _ in previews) == sorted(split.chats[1])


async def check_archiving(archive: Archive, split: Split) -> None:
    """New messages are taken, and those of the other shard are archived."""
    for chat_id in (*split.chats[0], *split.chats[1]):
        archive.send(chat_id, ALICE, ["new"])
    async with asyncio.timeout(WAIT_SECONDS):
        while 0 not in split.archiver.failing or archive.journal(split.chats[1][0]) != [11]:
            await split.archiver.step()
            await split.archiver.wait(0.05)
    assert split.archiver.failing == [0]
    for chat_id in split.chats[0]:
        assert archive.journal(chat_id) == [10, 11]


async def settle_when_back(archiver: Archiver) -> None:
    """Steps until the shard that is back has taken everything."""
    async with asyncio.timeout(2 * WAIT_SECONDS):
        while archiver.failing or not archiver.is_idle():
            await archiver.step()
            await archiver.wait(0.05)
    await settle(archiver)


async def test_too_many_parts_are_waited_for(archive: Archive, cluster: ClickHouseCluster) -> None:
    """A node that is behind with its merges would be pressed on until it takes nothing at all."""
    database = archive.address.database
    strict = (
        f"{statements.create_shard_table(database)}, parts_to_delay_insert = 3, parts_to_throw_insert = 3"
    )
    for shard in cluster.shards:
        shard.execute(statements.create_database(database))
        shard.execute(strict)
        shard.execute("SYSTEM STOP MERGES")
    chat_id = archive.messenger_db.direct(ALICE, BOB)
    archiver = await archive.archiver(Margin(0, 876_000.0))
    await archiver.begin()
    async with asyncio.timeout(WAIT_SECONDS):
        while not archiver.failing:
            archive.send(chat_id, ALICE, ["a"])
            await archiver.step()
            await archiver.wait(0.05)
    count = len(archive.journal(chat_id))
    for shard in cluster.shards:
        shard.execute("SYSTEM START MERGES")
        shard.execute(f"OPTIMIZE TABLE {database}.{statements.SHARD_TABLE} FINAL")
    await settle_when_back(archiver)
    (segment,) = await archive.database.read(read_segments, chat_id, 1, count)
    assert (segment.first_seq, segment.last_seq) == (1, count)


async def test_ten_minutes_of_single_rows_leave_few_parts(
    archive: Archive, cluster: ClickHouseCluster
) -> None:
    """Quiet chats would fill their node with parts, until it takes no more."""
    archiver = await archive.archiver()
    await archiver.begin()
    database, shard = archive.address.database, cluster.shards[0]
    statement = statements.insert_messages(database)
    for number in range(1, SECONDS + 1):
        message = Message(new_id(), number, new_id(), ALICE, new_id(), "text", 1)
        await archive.nodes.insert(Address("127.0.0.1", shard.port), statement, [to_row(message, number)])
    query = f"SELECT count() FROM system.parts WHERE active AND database = '{database}'"
    wait_until(lambda: shard.execute(query)[0][0] < MOST_PARTS, "parts are merged")
    rows = shard.execute(f"SELECT count() FROM {database}.{statements.SHARD_TABLE}")
    assert rows == [(SECONDS,)]
