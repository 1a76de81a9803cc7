"""The archiver, a step at a time, on a real cluster and on a current engine."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import pytest_asyncio

from palaver.contracts.ids import new_id
from palaver.messenger.archive import statements
from palaver.messenger.archive.nodes import Address, Rows
from palaver.messenger.archive.topology import ArchiveAddress
from palaver.messenger.archive.trimming import Margin
from palaver.messenger.store.leases import LeaseLostError
from palaver.messenger.store.messages import MessageArchivedError, delete_message, edit_message
from palaver.messenger.store.segments import read_segments
from palaver.messenger.store.shards import IDLE, read_shards
from tests.harness.archive import NO_MARGIN, Archive, archive_on, running_archive, settle
from tests.harness.chdb_nodes import ChdbNodes
from tests.harness.clickhouse import CLUSTER, ClickHouseCluster
from tests.harness.messenger_database import MessengerDatabase

ALICE, BOB = new_id()[:15] + b"\0", new_id()
# More than since the epoch
CENTURY_HOURS = 876_000.0
LONG = "ж" * 32_768


@pytest.fixture(scope="module")
def chdb(tmp_path_factory: pytest.TempPathFactory) -> ChdbNodes:
    """The current engine."""
    return ChdbNodes(tmp_path_factory.mktemp("chdb"))


@pytest.fixture
def engines() -> tuple[str, str]:
    """What journal and archive are on, for tests that do not hold for each."""
    return "sqlite", "18.16"


@pytest.fixture
def sql_engine(engines: tuple[str, str]) -> str:
    """What the journal is a database of."""
    return engines[0]


@pytest_asyncio.fixture
async def both(
    request: pytest.FixtureRequest, engines: tuple[str, str], messenger_db: MessengerDatabase
) -> AsyncIterator[Archive]:
    """An archive on each engine."""
    if engines[1] == "18.16":
        async with running_archive(messenger_db, request.getfixturevalue("clickhouse")) as archive:
            yield archive
        return
    chdb: ChdbNodes = request.getfixturevalue("chdb")
    address = ArchiveAddress(Address("127.0.0.1", 9000), f"test_{new_id().hex()}", CLUSTER)
    async with archive_on(messenger_db, chdb, address) as archive:
        yield archive


each_engine = pytest.mark.parametrize(
    "engines", [("sqlite", "18.16"), ("sqlite", "current"), ("mariadb", "18.16")], ids="-".join
)


@each_engine
async def test_messages_leave_the_journal_and_are_read_as_before(both: Archive) -> None:
    """Users would lose their history once it is archived."""
    chats = [both.messenger_db.direct(ALICE, new_id()) for _ in range(10)]
    for chat_id in chats:
        both.send(chat_id, ALICE, [f"тext\\ '{n}'\t\n" for n in range(29)] + [LONG])
        both.edit(chat_id, ALICE, 2, "better", 500)
        both.delete(chat_id, ALICE, 3, 600)
    before = {chat_id: both.messenger_db.history(chat_id) for chat_id in chats}
    await both.archive_all(Margin(0, 0.0))
    for chat_id in chats:
        assert both.journal(chat_id) == []
        assert await both.history(chat_id) == before[chat_id]
        page = await both.reader.page(chat_id, ALICE, 50, before=0, after=None)
        assert list(page.rows) == [tuple(one) for one in before[chat_id]]
    places = [(chat_id, seq) for chat_id in chats for seq in (1, 30)]
    assert dict(await both.reader.at(places)) == {
        (one.chat_id, one.seq): one for chat_id in chats for one in (before[chat_id][0], before[chat_id][-1])
    }
    previews = await both.reader.previews(places)
    assert [len(previews[chat_id, 30].text) for chat_id in chats] == [512] * 10
    assert [previews[chat_id, 1].text for chat_id in chats] == [before[chats[0]][0].text] * 10


@each_engine
async def test_changes_reach_archived_messages(both: Archive) -> None:
    """An edit would be forgotten, or a deleted text come back, with what is archived."""
    chat_id = both.messenger_db.direct(ALICE, BOB)
    both.send(chat_id, ALICE, ["a", LONG, "c", "d"])
    await both.archive_all(Margin(0, 0.0))
    await both.change_archived(edit_message, chat_id, ALICE, 1, "better", 500)
    await both.change_archived(delete_message, chat_id, ALICE, 2, 600)
    expected = [("better", 500, 0), ("", 0, 600), ("c", 0, 0), ("d", 0, 0)]

    async def states() -> list[tuple[str, int, int]]:
        return [(one.text, one.edited_at, one.deleted_at) for one in await both.history(chat_id)]

    # From the journal, to which they have come back, and then from the archive alone
    assert both.journal(chat_id) == [1, 2]
    assert await states() == expected
    await both.archive_all(Margin(0, 0.0))
    assert both.journal(chat_id) == []
    assert await states() == expected


@each_engine
async def test_all_statements_are_understood(both: Archive) -> None:
    """A newer ClickHouse would refuse what the archiver or a reader asks of it."""
    await both.archive_all()
    node, name = both.address.node, both.address.database
    shard = (await both.database.read(read_shards))[0]
    tables = await both.nodes.select(node, f"SELECT name FROM system.tables WHERE database = '{name}'")
    assert (statements.CLUSTER_TABLE.encode(),) in tables
    newest = statements.select_newest_version(name, [(ALICE, 1)])
    assert await both.nodes.select(Address(shard.host, shard.port), newest) in ([], [(0,)])
    assert await both.nodes.select(Address(shard.host, shard.port), statements.read_mark(name)) == [(0,)]


async def test_operators_see_each_message_on_the_cluster_node(
    archive: Archive, clickhouse: ClickHouseCluster
) -> None:
    """Operators could not count or search what is archived."""
    chats = [archive.messenger_db.direct(ALICE, new_id()) for _ in range(40)]
    for chat_id in chats:
        archive.send(chat_id, ALICE, ["one", LONG])
    await archive.archive_all()
    table = f"{archive.address.database}.{statements.CLUSTER_TABLE}"
    query = f"SELECT count(), sum(length(text)), uniq(chat_id) FROM {table} FINAL"
    assert clickhouse.node.execute(query) == [(80, 40 * (3 + 65_536), 40)]
    counts = [
        shard.execute(f"SELECT count() FROM {archive.address.database}.{statements.SHARD_TABLE} FINAL")[0][0]
        for shard in clickhouse.shards
    ]
    assert sum(counts) == 80
    assert min(counts) > 10


async def test_a_chat_s_segment_grows(archive: Archive) -> None:
    """Each second of a conversation would leave a row, and each page would look at many."""
    chat_id = archive.messenger_db.direct(ALICE, BOB)
    archiver = await archive.archiver(Margin(5, 0.0))
    await archiver.begin()
    for _ in range(5):
        archive.send(chat_id, ALICE, ["a", "b"])
        await settle(archiver)
    (segment,) = await archive.database.read(read_segments, chat_id, 1, 10)
    assert (segment.first_seq, segment.last_seq) == (1, 10)
    assert archive.journal(chat_id) == [6, 7, 8, 9, 10]


async def test_messages_stay_for_their_hours(archive: Archive) -> None:
    """The journal would be trimmed of what everybody reads."""
    chat_id = archive.messenger_db.direct(ALICE, BOB)
    now = 2**52
    archive.send(chat_id, ALICE, ["old", "old"], 100)
    archive.send(chat_id, ALICE, ["new", "new"], now)
    await archive.archive_all(Margin(1, 24.0))
    assert archive.journal(chat_id) == [3, 4]


async def test_an_edit_before_the_trim_is_not_trimmed(archive: Archive) -> None:
    """An edit that comes between a message's block and its trim would be lost with the row."""
    chat_id = archive.messenger_db.direct(ALICE, BOB)
    archive.send(chat_id, ALICE, ["a", "b"])
    archiver = await archive.archiver(Margin(0, CENTURY_HOURS))
    await archiver.begin()
    await settle(archiver)
    # Not followed: as if its transaction had waited for the archiver's
    archive.messenger_db.write(edit_message, chat_id, ALICE, 1, "better", 500)
    other = await archive.archiver(Margin(0, 0.0))
    await other.begin()
    await settle(other)
    assert archive.journal(chat_id) == [1]
    assert [one.text for one in await archive.history(chat_id)] == ["better", "b"]
    # The search for what was missed finds it
    await archive.archive_all(Margin(0, 0.0))
    assert archive.journal(chat_id) == []
    assert [one.text for one in await archive.history(chat_id)] == ["better", "b"]


async def test_of_two_changes_the_second_sees_the_first(archive: Archive) -> None:
    """An edit that was begun before a deletion would bring the text back."""
    chat_id = archive.messenger_db.direct(ALICE, BOB)
    archive.send(chat_id, ALICE, ["a", "b"])
    await archive.archive_all(Margin(0, 0.0))
    stale = await archive.reader.archived(chat_id, 1)
    await archive.change_archived(delete_message, chat_id, ALICE, 1, 600)
    await archive.archive_all(Margin(0, 0.0))
    with pytest.raises(MessageArchivedError):
        archive.messenger_db.write(edit_message, chat_id, ALICE, 1, "back", 700, stale)
    assert (await archive.history(chat_id))[0].text == ""


class InterruptedNodes:
    """Real nodes, between whose insert and its record something happens."""

    def __init__(self, archive: Archive, happens: Any) -> None:
        self._nodes = archive.nodes
        self._happens = happens

    async def insert(self, address: Address, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """See `ArchiveNodes.insert`."""
        await self._nodes.insert(address, statement, rows)
        if statements.SHARD_TABLE in statement:
            await self._happens()

    async def select(self, address: Address, statement: str) -> Rows:
        """See `ArchiveNodes.select`."""
        return await self._nodes.select(address, statement)

    async def define(self, address: Address, statement: str) -> None:
        """See `ArchiveNodes.define`."""
        await self._nodes.define(address, statement)

    async def close(self) -> None:
        """Nothing: the nodes are somebody else's."""


async def test_who_lost_the_lease_records_nothing(archive: Archive) -> None:
    """An archiver that was paused would record its block over its successor's."""
    chat_id = archive.messenger_db.direct(ALICE, BOB)
    archive.send(chat_id, ALICE, ["a", "b"])
    nodes = archive.nodes
    archive.nodes = InterruptedNodes(archive, archive.lease)
    paused = await archive.archiver()
    archive.nodes = nodes
    await paused.begin()
    with pytest.raises(LeaseLostError):
        await settle(paused)
    assert await archive.database.read(read_segments, chat_id, 1, 2) == []
    archive.edit(chat_id, ALICE, 1, "better", 500)
    await archive.archive_all(Margin(0, 0.0))
    assert [one.text for one in await archive.history(chat_id)] == ["better", "b"]


async def test_a_late_insert_of_a_former_holder_is_not_seen(archive: Archive) -> None:
    """A block that an archiver sends after its lease was taken would put older texts over newer ones."""
    chat_id = archive.messenger_db.direct(ALICE, BOB)
    archive.send(chat_id, ALICE, ["a", "b"])
    sent: list[tuple[Address, str, Sequence[tuple[Any, ...]]]] = []
    nodes = archive.nodes

    class LateNodes(InterruptedNodes):
        async def insert(self, address: Address, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
            if statements.SHARD_TABLE not in statement:
                await super().insert(address, statement, rows)
                return
            sent.append((address, statement, rows))
            await self._happens()

    archive.nodes = LateNodes(archive, archive.lease)
    late = await archive.archiver()
    archive.nodes = nodes
    await late.begin()
    with pytest.raises(LeaseLostError):
        await settle(late)
    archive.edit(chat_id, ALICE, 1, "better", 500)
    await archive.archive_all(Margin(0, 0.0))
    for insert in sent:
        await nodes.insert(*insert)
    assert [one.text for one in await archive.history(chat_id)] == ["better", "b"]


async def test_what_the_log_no_longer_has_is_searched_for(archive: Archive) -> None:
    """After a long outage of the archive, what was sent in it would stay in the journal for ever."""
    chats = [archive.messenger_db.direct(ALICE, new_id()) for _ in range(3)]
    archive.send(chats[0], ALICE, ["a"])
    await archive.archive_all()
    for chat_id in chats:
        archive.send(chat_id, ALICE, ["b", "c"])
    archive.send(chats[0], ALICE, ["d"])
    archive.messenger_db.write(
        lambda connection: connection.exec_driver_sql("DELETE FROM commit_log WHERE number < 5")
    )
    archiver = await archive.archiver(NO_MARGIN)
    await archiver.begin()
    await settle(archiver)
    assert [archive.journal(chat_id) for chat_id in chats] == [[4], [2], [2]]
    assert [len(await archive.history(chat_id)) for chat_id in chats] == [4, 2, 2]


async def test_blocks_are_bounded(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long history would be one block that fits no memory."""
    monkeypatch.setattr("palaver.messenger.archive.archiver.BLOCK_ROWS", 7)
    chats = [archive.messenger_db.direct(ALICE, new_id()) for _ in range(3)]
    for chat_id in chats:
        archive.send(chat_id, ALICE, [f"{n}" for n in range(20)])
    await archive.archive_all(Margin(0, 0.0))
    for chat_id in chats:
        assert [one.text for one in await archive.history(chat_id)] == [f"{n}" for n in range(20)]


async def test_a_chat_moves_on_to_another_shard(archive: Archive) -> None:
    """A page over two segments would have a hole, or come in the wrong order."""
    chat_id = archive.messenger_db.direct(ALICE, BOB)
    archive.send(chat_id, ALICE, [f"{n}" for n in range(1, 6)])
    await archive.archive_all(Margin(2, 0.0))
    (segment,) = await archive.database.read(read_segments, chat_id, 1, 5)
    await archive.database.write(
        lambda connection: connection.exec_driver_sql(
            f"UPDATE shards SET state = '{IDLE}' WHERE id = {segment.shard_id}"
        )
    )
    archive.send(chat_id, ALICE, [f"{n}" for n in range(6, 9)])
    await archive.archive_all(Margin(2, 0.0))
    segments = await archive.database.read(read_segments, chat_id, 1, 8)
    assert [(one.first_seq, one.last_seq) for one in segments] == [(1, 5), (6, 8)]
    assert segments[0].shard_id != segments[1].shard_id
    assert archive.journal(chat_id) == [7, 8]
    page = await archive.reader.page(chat_id, BOB, 6, before=8, after=None)
    assert [row[5] for row in page.rows] == ["2", "3", "4", "5", "6", "7"]


async def test_a_database_that_was_put_back_gets_newer_versions(archive: Archive) -> None:
    """After a backup of the journal was restored, the archive would show messages that never were."""
    chat_id = archive.messenger_db.direct(ALICE, BOB)
    archive.send(chat_id, ALICE, ["lost", "lost"])
    lease = await archive.lease()
    await archive.archive_all(Margin(0, 0.0))
    places = [(chat_id, 1), (chat_id, 2)]
    for table in ("segments", "messages", "message_keys"):
        archive.messenger_db.write(
            lambda connection, table=table: connection.exec_driver_sql(f"DELETE FROM {table}")
        )
    archive.messenger_db.write(
        lambda connection: connection.exec_driver_sql(f"UPDATE leases SET token = {lease.token - 1}")
    )
    archive.messenger_db.write(lambda connection: connection.exec_driver_sql("UPDATE chats SET last_seq = 0"))
    archive.send(chat_id, ALICE, ["new", "new"])
    await archive.archive_all(Margin(0, 0.0))
    assert [(await archive.reader.at(places))[place].text for place in places] == ["new", "new"]
