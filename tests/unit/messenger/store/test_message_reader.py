"""What every reader of messages promises, on real databases."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import text

from palaver.contracts.errors import NOT_FOUND, PalaverError
from palaver.contracts.ids import new_id
from palaver.messenger.archive.trimming import Margin
from palaver.messenger.domain import Message
from palaver.messenger.store import messages as module
from palaver.messenger.store.chats import remove_member
from palaver.messenger.store.messages import MessageReader, SqlMessageReader, delete_message, edit_message
from palaver.runtime.sql.database import Database
from tests.harness.archive import Archive, running_archive
from tests.harness.journal_rows import write_messages
from tests.harness.messenger_database import MessengerDatabase

ALICE, BOB, CAROL = new_id(), new_id(), new_id()

PLACES = {
    "sql": None,
    "journal": None,
    "archive": Margin(0, 0.0),
    "both": Margin(2, 0.0),
}


class ArchivingReader:
    """A reader over journal and archive, to which all but a margin has moved before anything is read."""

    def __init__(self, archive: Archive, margin: Margin) -> None:
        self._archive = archive
        self._margin = margin

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def read(*args: Any, **kwargs: Any) -> Any:
            await self._archive.archive_all(self._margin)
            return await getattr(self._archive.reader, name)(*args, **kwargs)

        return read


# On a server, what is read from both has read from each
@pytest.fixture(
    params=[*(("sqlite", place) for place in PLACES), ("mariadb", "sql"), ("mariadb", "both")], ids="-".join
)
def engine_and_place(request: pytest.FixtureRequest) -> tuple[str, str]:
    """What the journal is a database of, and where messages are."""
    found: tuple[str, str] = request.param
    return found


@pytest.fixture
def sql_engine(engine_and_place: tuple[str, str]) -> str:
    """What the journal is a database of."""
    return engine_and_place[0]


@pytest_asyncio.fixture
async def reader(
    request: pytest.FixtureRequest,
    engine_and_place: tuple[str, str],
    database: Database,
    messenger_db: MessengerDatabase,
) -> AsyncIterator[MessageReader]:
    """A reader of messages that are in the journal, in the archive, or some in each."""
    place = engine_and_place[1]
    if place == "sql":
        yield SqlMessageReader(database)
        return
    async with running_archive(messenger_db, request.getfixturevalue("clickhouse")) as archive:
        margin = PLACES[place]
        yield archive.reader if margin is None else ArchivingReader(archive, margin)  # type: ignore[misc] # it has its methods


@pytest.fixture
def chat_id(messenger_db: MessengerDatabase) -> bytes:
    """A group of Alice, Bob and Carol."""
    return messenger_db.group([ALICE, BOB, CAROL])


def seqs(messages: list[Message]) -> list[int]:
    """In the order in which they were read."""
    return [message.seq for message in messages]


async def test_pages_follow_each_other_without_hole_or_overlap(
    messenger_db: MessengerDatabase, reader: MessageReader, chat_id: bytes
) -> None:
    """A resume would lose what lies between two pages, or tell it twice."""
    count = module.STREAM_MESSAGES * 2 + 7
    messenger_db.write(write_messages, chat_id, ALICE, [f"{number}" for number in range(1, count + 1)])
    found: list[int] = []
    while page := await reader.after(chat_id, found[-1] if found else 0, count):
        assert len(page) <= module.STREAM_MESSAGES
        assert [message.text for message in page] == [str(message.seq) for message in page]
        found += seqs(page)
    assert found == list(range(1, count + 1))


async def test_a_page_ends_where_it_is_asked_to(
    messenger_db: MessengerDatabase, reader: MessageReader, chat_id: bytes
) -> None:
    """A hole would be filled beyond its end, with messages that are told live too."""
    messenger_db.write(write_messages, chat_id, ALICE, ["a", "b", "c", "d"])
    assert seqs(await reader.after(chat_id, 1, 3)) == [2, 3]
    assert await reader.after(chat_id, 3, 3) == []
    assert await reader.after(chat_id, 4, 2) == []


async def test_a_page_of_long_texts_is_short_but_not_empty(
    messenger_db: MessengerDatabase, reader: MessageReader, chat_id: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long texts would fill the memory that a slow reader makes wait, or stop its resume."""
    monkeypatch.setattr(module, "STREAM_BYTES", 10)
    messenger_db.write(write_messages, chat_id, ALICE, ["x" * 6, "x" * 4, "x" * 50, "y"])
    assert seqs(await reader.after(chat_id, 0, 4)) == [1, 2]
    assert seqs(await reader.after(chat_id, 2, 4)) == [3]


async def test_a_member_reads_to_the_end(
    messenger_db: MessengerDatabase, reader: MessageReader, chat_id: bytes
) -> None:
    """A resume would stop before the end."""
    messenger_db.write(write_messages, chat_id, ALICE, ["a", "b"])
    found = await reader.readable_after(chat_id, BOB, 1)
    assert found is not None
    page, until = found
    assert (seqs(page), until) == ([2], 2)
    # A cursor beyond the end, and beyond the database's integers
    assert await reader.readable_after(chat_id, BOB, 2**64 - 1) == ([], 2)


async def test_who_left_reads_up_to_their_leaving(
    messenger_db: MessengerDatabase, reader: MessageReader, chat_id: bytes
) -> None:
    """Former members would go on reading (promise P5)."""
    messenger_db.write(write_messages, chat_id, ALICE, ["a"])
    messenger_db.write(remove_member, chat_id, ALICE, BOB)
    messenger_db.write(write_messages, chat_id, ALICE, ["b"])
    found = await reader.readable_after(chat_id, BOB, 0)
    assert found is not None
    page, until = found
    assert ([message.text for message in page], until) == (["a"], 1)
    page_of_history = await reader.page(chat_id, BOB, 10, before=0, after=None)
    assert [row[module.SEQ] for row in page_of_history.rows] == [1]
    assert (page_of_history.last_seq, page_of_history.left) == (1, True)


async def test_the_ends_of_a_users_chats_are_read_together(
    messenger_db: MessengerDatabase, reader: MessageReader, chat_id: bytes
) -> None:
    """A resume would read each chat, or stop before the end; former members and strangers would learn how
    much is said (promise P5)."""
    left, foreign = messenger_db.group([ALICE, BOB]), messenger_db.group([ALICE, new_id()])
    for chat in (chat_id, left, foreign):
        messenger_db.write(write_messages, chat, ALICE, ["a"])
    messenger_db.write(remove_member, left, ALICE, BOB)
    for chat in (chat_id, left):
        messenger_db.write(write_messages, chat, ALICE, ["b"])
    ends = await reader.readable_ends(BOB, [chat_id, left, foreign, new_id()])
    assert ends == {chat_id: 2, left: 1}
    assert await reader.readable_ends(BOB, []) == {}


async def test_a_stranger_finds_nothing_there_or_not(
    messenger_db: MessengerDatabase, reader: MessageReader, chat_id: bytes
) -> None:
    """Strangers would learn which chats exist, by resuming them (promise P5)."""
    messenger_db.write(write_messages, chat_id, ALICE, ["a"])
    assert await reader.readable_after(chat_id, new_id(), 0) is None
    assert await reader.readable_after(new_id(), ALICE, 0) is None
    refused = []
    for where in (chat_id, new_id()):
        with pytest.raises(PalaverError) as caught:
            await reader.page(where, new_id(), 10, before=0, after=None)
        refused.append((caught.value.kind, caught.value.message, caught.value.field))
    assert refused == [(NOT_FOUND, "no such chat", "chat_id")] * 2


async def test_a_page_is_read_both_ways(
    messenger_db: MessengerDatabase, reader: MessageReader, chat_id: bytes
) -> None:
    """Scrolling through a history would pass over messages, or show some twice."""
    messenger_db.write(write_messages, chat_id, ALICE, list("abcdef"))
    for before, after, expected in [(0, None, [5, 6]), (5, None, [3, 4]), (0, 0, [1, 2]), (0, 4, [5, 6])]:
        page = await reader.page(chat_id, BOB, 2, before=before, after=after)
        assert [row[module.SEQ] for row in page.rows] == expected
        assert [row[module.TEXT] for row in page.rows] == ["abcdef"[seq - 1] for seq in expected]
        assert (page.last_seq, page.read_seq, page.left) == (6, 0, False)


async def test_messages_are_found_at_their_places(
    messenger_db: MessengerDatabase, reader: MessageReader, chat_id: bytes
) -> None:
    """A list of chats would show another chat's last words, and a change reach screens as it was before."""
    other = messenger_db.direct(ALICE, BOB)
    messenger_db.write(write_messages, chat_id, ALICE, ["a", "b", "c"])
    messenger_db.write(write_messages, other, BOB, ["d"])
    messenger_db.write(edit_message, chat_id, ALICE, 2, "better", 500)
    messenger_db.write(delete_message, chat_id, ALICE, 3, 600)
    written = messenger_db.history(chat_id)
    places = [(chat_id, 3), (other, 1), (chat_id, 2), (chat_id, 4), (other, 0), (new_id(), 1)]
    found = await reader.at(places)
    assert {messenger_db: (one.chat_id, one.seq, one.text) for messenger_db, one in found.items()} == {
        (chat_id, 2): (chat_id, 2, "better"),
        (chat_id, 3): (chat_id, 3, ""),
        (other, 1): (other, 1, "d"),
    }
    assert (found[chat_id, 2].edited_at, found[chat_id, 3].deleted_at) == (500, 600)
    assert [found[chat_id, seq] for seq in (2, 3)] == written[1:]
    assert await reader.at([]) == {}


async def test_a_long_list_of_places_is_one_read(
    messenger_db: MessengerDatabase, reader: MessageReader
) -> None:
    """The largest page of chats would be refused by the database, whose statements have a most length."""
    places = []
    for number in range(50):
        chat_id = messenger_db.direct(ALICE, new_id())
        messenger_db.write(write_messages, chat_id, ALICE, [f"{number}"])
        places.append((chat_id, 1))
    places += [(new_id(), 1) for _ in range(950)]
    found = await reader.at(places)
    assert [found[messenger_db].text for messenger_db in places[:50]] == [f"{number}" for number in range(50)]
    assert len(found) == 50


async def test_all_ways_of_reading_give_the_same_message(
    messenger_db: MessengerDatabase, reader: MessageReader, chat_id: bytes
) -> None:
    """Who resumes would see another message than who was there, or reads the history."""
    messenger_db.write(write_messages, chat_id, ALICE, ["a"])
    messenger_db.write(lambda c: c.execute(text("UPDATE messages SET trace_id = 't', edited_at = 7")))
    (written,) = messenger_db.history(chat_id)
    (message,) = await reader.after(chat_id, 0, 1)
    assert message == written
    assert await reader.readable_after(chat_id, BOB, 0) == ([message], 1)
    assert await reader.at([(chat_id, 1)]) == {(chat_id, 1): message}
    page = await reader.page(chat_id, BOB, 1, before=0, after=None)
    assert [Message(*row) for row in page.rows] == [message]
