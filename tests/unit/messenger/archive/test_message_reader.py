"""Reading over journal and archive: against a model, beside a trim, and many at once."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from palaver.contracts.errors import UNAVAILABLE, PalaverError
from palaver.contracts.ids import new_id
from palaver.messenger.archive.message_reader import ArchivedMessageReader
from palaver.messenger.archive.nodes import Address, Rows
from palaver.messenger.archive.trimming import Margin
from palaver.messenger.domain import Message
from palaver.messenger.store.messages import delete_message, edit_message
from tests.harness.archive import Archive
from tests.harness.waiting import eventually

ALICE, BOB = new_id(), new_id()


async def pages_back(archive: Archive, chat_id: bytes, limit: int) -> list[list[Message]]:
    """All pages of a chat, from its end to its beginning."""
    pages: list[list[Message]] = []
    before = 0
    while True:
        page = await archive.reader.page(chat_id, BOB, limit, before=before, after=None)
        if not page.rows:
            return pages
        pages.append([Message._make(row) for row in page.rows])
        before = pages[-1][0].seq


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    kept=st.integers(0, 12),
    changes=st.lists(st.tuples(st.integers(0, 47), st.booleans(), st.booleans()), max_size=6),
    limit=st.integers(1, 50),
    trims_at_the_end=st.booleans(),
)
async def test_a_history_that_is_split_anywhere_is_the_whole_history(
    archive: Archive,
    sizes: list[int],
    kept: int,
    changes: list[tuple[int, bool, bool]],
    limit: int,
    trims_at_the_end: bool,
) -> None:
    """A page over the border of journal and archive would lose messages, repeat some or show old texts."""
    chat_id = archive.messenger_db.group([ALICE, BOB])
    for number, size in enumerate(sizes):
        archive.send(chat_id, ALICE, [f"{number}.{n}" for n in range(size)], 100 + number)
        if number < len(sizes) - 1:
            await archive.archive_all(Margin(kept, 0.0))
    model = {one.seq: one for one in await archive.history(chat_id)}
    assert list(model) == list(range(1, sum(sizes) + 1))
    for at, (place, is_edit, archives) in enumerate(changes, start=500):
        seq = place % len(model) + 1
        if model[seq].deleted_at:
            continue
        found = await archive.reader.archived(chat_id, seq)
        if is_edit:
            archive.edit(chat_id, ALICE, seq, f"edit {at}", at, found)
            model[seq] = model[seq]._replace(text=f"edit {at}", edited_at=at)
        else:
            archive.delete(chat_id, ALICE, seq, at, found)
            model[seq] = model[seq]._replace(text="", deleted_at=at)
        if archives:
            await archive.archive_all(Margin(kept, 0.0))
    if trims_at_the_end:
        await archive.archive_all(Margin(0, 0.0))
    expected = list(model.values())
    assert await archive.history(chat_id) == expected
    pages = await pages_back(archive, chat_id, limit)
    assert [one for page in reversed(pages) for one in page] == expected
    assert all(len(page) == limit for page in pages[:-1])
    middle = len(expected) // 2
    page = await archive.reader.page(chat_id, BOB, limit, before=0, after=middle)
    assert [Message._make(row) for row in page.rows] == expected[middle : middle + limit]
    assert dict(await archive.reader.at([(chat_id, seq) for seq in model])) == {
        (chat_id, seq): message for seq, message in model.items()
    }


async def test_long_texts_end_a_page_early_and_none_is_lost(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page of long texts would fill the memory, or end the history."""
    monkeypatch.setattr("palaver.messenger.store.messages.PAGE_BYTES", 1_000)
    chat_id = archive.messenger_db.direct(ALICE, BOB)
    archive.send(chat_id, ALICE, [f"{n}" * 100 for n in range(10, 45)] + ["x" * 5_000, "y"])
    expected = archive.messenger_db.history(chat_id)
    await archive.archive_all(Margin(8, 0.0))
    await archive.change_archived(edit_message, chat_id, ALICE, 20, expected[19].text, 500)
    expected[19] = expected[19]._replace(edited_at=500)
    pages = await pages_back(archive, chat_id, 30)
    assert [one for page in reversed(pages) for one in page] == expected
    assert max(sum(len(one.text) for one in page) for page in pages if len(page) > 1) <= 1_000
    assert len(pages) < 12


class CountingNodes:
    """Real nodes whose reads are counted, and wait until they are let go."""

    def __init__(self, archive: Archive) -> None:
        self._nodes = archive.nodes
        self.reads = 0
        self.go = asyncio.Event()
        self.began = asyncio.Event()

    async def select(self, address: Address, statement: str) -> Rows:
        """See `ArchiveNodes.select`."""
        self.reads += 1
        self.began.set()
        await self.go.wait()
        return await self._nodes.select(address, statement)

    async def insert(self, address: Address, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """See `ArchiveNodes.insert`."""
        await self._nodes.insert(address, statement, rows)

    async def define(self, address: Address, statement: str) -> None:
        """See `ArchiveNodes.define`."""
        await self._nodes.define(address, statement)

    async def close(self) -> None:
        """Nothing: the nodes are somebody else's."""


async def test_a_hundred_readers_of_one_page_are_one_read(archive: Archive) -> None:
    """A popular chat would be read a hundred times from its shard at once."""
    chat_id = archive.messenger_db.direct(ALICE, BOB)
    archive.send(chat_id, ALICE, [f"{n}" for n in range(60)])
    await archive.archive_all(Margin(0, 0.0))
    nodes = CountingNodes(archive)
    reader = ArchivedMessageReader(archive.database, nodes, archive.address.database)
    readers = [asyncio.create_task(reader.page(chat_id, BOB, 50, before=0, after=None)) for _ in range(100)]
    await nodes.began.wait()
    nodes.go.set()
    pages = await asyncio.gather(*readers)
    assert nodes.reads == 1
    assert {len(page.rows) for page in pages} == {50}


async def test_who_reads_after_a_change_does_not_share_an_older_read(archive: Archive) -> None:
    """Somebody would see a deleted text, because another began to read it before it was deleted."""
    chat_id = archive.messenger_db.direct(ALICE, BOB)
    archive.send(chat_id, ALICE, ["a", "b"])
    await archive.archive_all(Margin(0, 0.0))
    nodes = CountingNodes(archive)
    reader = ArchivedMessageReader(archive.database, nodes, archive.address.database)
    early = asyncio.create_task(reader.page(chat_id, BOB, 50, before=0, after=None))
    await nodes.began.wait()
    await archive.change_archived(delete_message, chat_id, ALICE, 1, 600)
    await archive.archive_all(Margin(0, 0.0))
    late = asyncio.create_task(reader.page(chat_id, BOB, 50, before=0, after=None))
    await eventually(lambda: nodes.reads == 2, "the second read")
    nodes.go.set()
    await early
    assert [row[5] for row in (await late).rows] == ["", "b"]


async def test_who_pages_back_while_rows_are_trimmed_gets_all(archive: Archive) -> None:
    """A reader would see a hole where messages had just left the journal."""
    chat_id = archive.messenger_db.direct(ALICE, BOB)
    archive.send(chat_id, ALICE, [f"{n}" for n in range(300)])
    expected = archive.messenger_db.history(chat_id)
    archiver = await archive.archiver(Margin(0, 0.0))
    await archiver.begin()
    done = asyncio.Event()

    async def read_on() -> int:
        rounds = 0
        while not done.is_set() or rounds == 0:
            pages = await pages_back(archive, chat_id, 20)
            assert [one for page in reversed(pages) for one in page] == expected
            assert all(len(page) == 20 for page in pages)
            rounds += 1
            # What the journal has is read without a pause
            await asyncio.sleep(0)
        return rounds

    readers = [asyncio.create_task(read_on()) for _ in range(3)]
    while archive.journal(chat_id):
        await archiver.step()
        await asyncio.sleep(0.01)
    done.set()
    assert min(await asyncio.gather(*readers)) >= 1


async def test_a_shard_that_lost_rows_is_an_error(archive: Archive) -> None:
    """A page would be short in silence, and nobody would learn that messages are gone."""
    chat_id = archive.messenger_db.direct(ALICE, BOB)
    archive.send(chat_id, ALICE, ["a", "b"])
    await archive.archive_all(Margin(0, 0.0))
    archive.messenger_db.write(
        lambda connection: connection.exec_driver_sql("UPDATE segments SET last_seq = 3")
    )
    archive.messenger_db.write(lambda connection: connection.exec_driver_sql("UPDATE chats SET last_seq = 3"))
    with pytest.raises(PalaverError, match="messages 1 to 3 of this chat") as caught:
        await archive.reader.page(chat_id, BOB, 50, before=0, after=None)
    assert caught.value.kind is UNAVAILABLE
    with pytest.raises(PalaverError, match="message 3 of this chat"):
        await archive.reader.at([(chat_id, 3)])
