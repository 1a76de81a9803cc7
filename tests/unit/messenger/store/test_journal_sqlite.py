"""The journal on SQLite: what is its own way."""

import asyncio
import sqlite3

import pytest

from palaver.contracts.ids import new_id
from palaver.messenger.domain import Membership
from palaver.messenger.pending_send import PendingSend
from palaver.messenger.store.journal import Writes
from palaver.messenger.store.journal_sqlite import SqliteJournal
from palaver.runtime.sql.sqlite import SqliteDatabase
from tests.harness.messenger_database import MessengerDatabase
from tests.harness.noted_replies import NotedReply

ALICE, BOB = new_id(), new_id()


@pytest.fixture
def sql_engine() -> str:
    """SQLite alone."""
    return "sqlite"


def request(chat_id: bytes, *texts: str) -> PendingSend:
    """A request of Alice's, as it waits for the committer."""
    membership = Membership(chat_id, False, 1, frozenset([ALICE, BOB]))
    return PendingSend(membership, ALICE, [new_id() for _ in texts], list(texts), NotedReply())


async def test_a_message_has_the_time_at_which_the_lock_was_held(
    messenger_db: MessengerDatabase, database: SqliteDatabase
) -> None:
    """One that waited long would look older than it is, and be left out after a broken stream."""
    chat_id = messenger_db.direct(ALICE, BOB)
    now = 5_000
    other = sqlite3.connect(messenger_db.file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    writing = asyncio.create_task(
        SqliteJournal(database, lambda: now).write(Writes([request(chat_id, "late")]))
    )
    await asyncio.sleep(0.02)
    now = 9_000
    other.execute("ROLLBACK")
    other.close()
    await writing
    assert [message.created_at for message in messenger_db.history(chat_id)] == [9_000]


async def test_a_disk_that_takes_nothing_is_not_tried_send_by_send(
    messenger_db: MessengerDatabase, database: SqliteDatabase
) -> None:
    """A full disk would be asked once a send, and all senders wait for it as many times."""
    chat_id = messenger_db.direct(ALICE, BOB)
    messenger_db.write(lambda c: c.exec_driver_sql("ALTER TABLE message_keys RENAME TO away"))
    batch = [request(chat_id, "a") for _ in range(3)]
    with pytest.raises(sqlite3.OperationalError):
        await SqliteJournal(database).write(Writes(batch))
    assert [send.error for send in batch] == [None] * 3
