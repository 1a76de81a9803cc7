"""The journal on SQLite, in a file."""

import asyncio
import sqlite3

import pytest
from sqlalchemy import Connection, select, text, update

from palaver.contracts.ids import new_id
from palaver.messenger.realtime.memberships import Audience
from palaver.messenger.sequencing import Append, messages_of
from palaver.messenger.store.journal import SqliteJournal, Writes, chunks
from palaver.messenger.store.schema import chats, members, message_keys, messages, presence
from palaver.runtime.sql.database import SqliteDatabase
from tests.harness.messenger_database import MessengerDatabase

ALICE, BOB, STRANGER = new_id(), new_id(), new_id()


@pytest.fixture
def journal(database: SqliteDatabase) -> SqliteJournal:
    """A journal whose clock stands still."""
    return SqliteJournal(database, lambda: 5_000)


def append(chat_id: bytes, *texts: str, sender: bytes = ALICE, **more: object) -> Append:
    """A request of a member, as it waits for the committer."""
    audience = Audience(chat_id, False, 1, 0, frozenset([ALICE, BOB]))
    client_ids = more.pop("client_ids", None) or [new_id() for _ in texts]
    asked = Append(audience, sender, client_ids, list(texts), **more)  # type: ignore[arg-type]
    asked.version = 1
    return asked


def read_member(connection: Connection, chat_id: bytes, user_id: bytes) -> tuple[int, int, int]:
    """Received seq, read seq and activity."""
    row = connection.execute(
        select(members.c.received_seq, members.c.read_seq, members.c.active_at).where(
            members.c.chat_id == chat_id, members.c.user_id == user_id
        )
    ).one()
    return row[0], row[1], row[2]


async def test_what_is_written_is_there_for_every_connection(
    messenger_db: MessengerDatabase, journal: SqliteJournal
) -> None:
    """An acknowledged message could be one that nobody ever reads (promise P1)."""
    chat_id = messenger_db.direct(ALICE, BOB)
    asked = append(chat_id, "one", "two\N{PILE OF POO}", trace_id="0af7651916cd43dd8448eb211c80319c")
    await journal.write(Writes([asked]))
    assert messenger_db.history(chat_id) == messages_of(asked)
    assert [message.created_at for message in messages_of(asked)] == [5_000, 5_000]
    chat = messenger_db.write(lambda c: c.execute(select(chats.c.last_seq, chats.c.active_at)).one())
    assert tuple(chat) == (2, 5_000)
    assert messenger_db.write(read_member, chat_id, ALICE) == (2, 2, 5_000)
    assert messenger_db.write(read_member, chat_id, BOB) == (0, 0, 5_000)


async def test_a_message_has_the_time_at_which_the_lock_was_held(
    messenger_db: MessengerDatabase, database: SqliteDatabase
) -> None:
    """One that waited long would look older than it is, and be left out after a broken stream."""
    chat_id = messenger_db.direct(ALICE, BOB)
    now = 5_000
    other = sqlite3.connect(messenger_db.file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    writing = asyncio.create_task(
        SqliteJournal(database, lambda: now).write(Writes([append(chat_id, "late")]))
    )
    await asyncio.sleep(0.02)
    now = 9_000
    other.execute("ROLLBACK")
    other.close()
    await writing
    assert [message.created_at for message in messenger_db.history(chat_id)] == [9_000]


async def test_a_client_id_that_comes_again_unannounced_gives_the_first_message(
    messenger_db: MessengerDatabase, journal: SqliteJournal
) -> None:
    """A client that forgets to say that it repeats would double its message (promise P4)."""
    chat_id = messenger_db.direct(ALICE, BOB)
    first, other = append(chat_id, "first"), append(chat_id, "other")
    await journal.write(Writes([first]))
    again = append(chat_id, "again", client_ids=first.client_ids)
    await journal.write(Writes([other, again]))
    assert messages_of(again) == messages_of(first)
    assert [message.text for message in messenger_db.history(chat_id)] == ["first", "other"]


async def test_a_repeat_sees_what_became_of_the_message(
    messenger_db: MessengerDatabase, journal: SqliteJournal
) -> None:
    """A repeated send would bring back a text that was deleted since."""
    chat_id = messenger_db.direct(ALICE, BOB)
    first = append(chat_id, "secret")
    await journal.write(Writes([first]))
    messenger_db.write(lambda c: c.execute(update(messages).values(text="", deleted_at=6_000)))
    again = append(chat_id, "secret", client_ids=first.client_ids, retry=True)
    await journal.write(Writes([again]))
    (found,) = messages_of(again)
    assert (found.seq, found.text, found.deleted_at) == (1, "", 6_000)


async def test_two_journals_give_one_order(messenger_db: MessengerDatabase, journal: SqliteJournal) -> None:
    """Two replicas would give one seq twice, or leave holes."""
    chat_id = messenger_db.direct(ALICE, BOB)
    client_ids = [new_id() for _ in range(40)]
    second = SqliteDatabase(messenger_db.file)
    other = SqliteJournal(second)
    asked = [[append(chat_id, "text", client_ids=[client_id]) for client_id in client_ids] for _ in range(2)]
    for mine, theirs in zip(*asked, strict=True):
        await asyncio.gather(journal.write(Writes([mine])), other.write(Writes([theirs])))
    await second.close()
    history = messenger_db.history(chat_id)
    assert [message.seq for message in history] == list(range(1, 41))
    assert {message.client_id for message in history} == set(client_ids)
    for mine, theirs in zip(*asked, strict=True):
        assert messages_of(mine)[0].seq == messages_of(theirs)[0].seq


async def test_a_batch_larger_than_a_statement_is_written_whole(
    messenger_db: MessengerDatabase, journal: SqliteJournal
) -> None:
    """A burst would lose what does not fit."""
    chat_id = messenger_db.direct(ALICE, BOB)
    batch = [append(chat_id, *(f"{number}.{part}" for part in range(3))) for number in range(257)]
    await journal.write(Writes(batch))
    expected = [f"{number}.{part}" for number in range(257) for part in range(3)]
    assert [message.text for message in messenger_db.history(chat_id)] == expected
    keys = messenger_db.write(
        lambda c: c.execute(select(message_keys.c.seq).order_by(message_keys.c.seq)).all()
    )
    assert [row.seq for row in keys] == list(range(1, 772))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 255, 256, 257, 1_000])
def test_chunks_are_few_and_cover_all(count: int) -> None:
    """Rows would be written twice or not at all."""
    assert [n for start, size in chunks(count) for n in range(start, start + size)] == list(range(count))
    assert len(list(chunks(count))) <= count // 256 + 8


async def test_a_transaction_that_fails_writes_nothing(
    messenger_db: MessengerDatabase, journal: SqliteJournal
) -> None:
    """Half a batch could be there, with seqs that the chat does not know of."""
    chat_id = messenger_db.direct(ALICE, BOB)
    messenger_db.write(lambda c: c.execute(text("ALTER TABLE messages RENAME TO away")))
    with pytest.raises(sqlite3.OperationalError):
        await journal.write(Writes([append(chat_id, "a")], {(chat_id, BOB): (1, 1)}))
    messenger_db.write(lambda c: c.execute(text("ALTER TABLE away RENAME TO messages")))
    assert messenger_db.write(lambda c: c.execute(select(message_keys)).all()) == []
    assert messenger_db.write(lambda c: c.execute(select(chats.c.last_seq)).scalar()) == 0
    asked = append(chat_id, "b")
    await journal.write(Writes([asked]))
    assert messages_of(asked)[0].seq == 1


async def test_receipts_move_forward_and_not_beyond_the_end(
    messenger_db: MessengerDatabase, journal: SqliteJournal
) -> None:
    """Unread counts would be wrong, or go back."""
    chat_id = messenger_db.direct(ALICE, BOB)
    await journal.write(Writes([append(chat_id, "a", "b", "c")]))
    key = (chat_id, BOB)
    for asked, stored, moved in [
        ((2, 0), (2, 0), True),
        ((1, 0), (2, 0), False),
        ((0, 1), (2, 1), True),
        ((0, 3), (3, 3), True),
        ((99, 99), (3, 3), False),
    ]:
        writes = Writes(receipts={key: asked})
        await journal.write(writes)
        assert writes.receipts_now == {key: (*stored, moved)}
        assert messenger_db.write(read_member, chat_id, BOB)[:2] == stored


async def test_receipts_of_strangers_and_former_members_move_nothing(
    messenger_db: MessengerDatabase, journal: SqliteJournal
) -> None:
    """Somebody outside a chat would change it, or learn that it exists (promise P5)."""
    chat_id = messenger_db.direct(ALICE, BOB)
    await journal.write(Writes([append(chat_id, "a")]))
    messenger_db.write(
        lambda c: c.execute(update(members).where(members.c.user_id == BOB).values(left_seq=0))
    )
    writes = Writes(receipts={(chat_id, STRANGER): (1, 1), (chat_id, BOB): (1, 1), (new_id(), ALICE): (1, 1)})
    await journal.write(writes)
    assert writes.receipts_now == {}
    assert messenger_db.write(read_member, chat_id, BOB)[:2] == (0, 0)


async def test_when_somebody_was_seen_does_not_go_back(
    messenger_db: MessengerDatabase, journal: SqliteJournal
) -> None:
    """Two gateways would make somebody seen last earlier than they were."""
    await journal.write(Writes(seen={ALICE: 10, BOB: 20}))
    await journal.write(Writes(seen={ALICE: 5, BOB: 30}))
    rows = messenger_db.write(lambda c: c.execute(select(presence.c.user_id, presence.c.last_seen_at)).all())
    assert {row.user_id: row.last_seen_at for row in rows} == {ALICE: 10, BOB: 30}
