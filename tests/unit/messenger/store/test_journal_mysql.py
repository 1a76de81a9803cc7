"""The journal on MySQL: what is its own way, on a real MariaDB."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from asyncmy.errors import OperationalError
from sqlalchemy import Connection, select

from palaver.contracts.errors import UNAVAILABLE
from palaver.contracts.ids import new_id
from palaver.messenger.database import KIND
from palaver.messenger.domain import Membership
from palaver.messenger.pending_send import PendingSend, stored_keys
from palaver.messenger.store.commit_log import read_after
from palaver.messenger.store.journal import Writes
from palaver.messenger.store.journal_mysql import MysqlJournal
from palaver.messenger.store.schema import chats, commit_log
from palaver.messenger.store.writer_mysql import MysqlWriter
from palaver.runtime.sql import mysql_connections
from palaver.runtime.sql.database import DatabaseUnavailableError
from palaver.runtime.sql.locations import migrate_database
from tests.harness.mariadb import GENERAL_CI, LATIN1, UCA1400, MariadbServer
from tests.harness.messenger_database import MessengerDatabase
from tests.harness.noted_replies import NotedReply
from tests.harness.signals import Signal

ALICE, BOB = new_id(), new_id()


@pytest.fixture
def sql_engine() -> str:
    """MariaDB alone."""
    return "mariadb"


def writer_of(messenger_db: MessengerDatabase) -> MysqlWriter:
    """A writer as another process has it."""
    assert messenger_db.schema is not None
    return MysqlWriter(messenger_db.schema.address)


@pytest_asyncio.fixture
async def writer(messenger_db: MessengerDatabase) -> AsyncIterator[MysqlWriter]:
    """A writer."""
    writer = writer_of(messenger_db)
    yield writer
    await writer.close()


@pytest.fixture
def journal(writer: MysqlWriter) -> MysqlJournal:
    """A journal whose clock stands still."""
    return MysqlJournal(writer, lambda: 5_000)


def request(chat_id: bytes, *texts: str, sender: bytes = ALICE, retry: bool = False) -> PendingSend:
    """A request of a member, as it waits for the committer."""
    membership = Membership(chat_id, False, 1, frozenset([ALICE, BOB]))
    return PendingSend(membership, sender, [new_id() for _ in texts], list(texts), NotedReply(), retry)


def numbers(messenger_db: MessengerDatabase) -> dict[int, list[int]]:
    """The numbers in the log, by writer."""
    found: dict[int, list[int]] = {}
    rows = messenger_db.write(lambda c: c.execute(select(commit_log.c.writer, commit_log.c.number)).all())
    for writer, number in sorted(map(tuple, rows)):
        found.setdefault(writer, []).append(number)
    return found


async def test_ids_may_end_in_zeros(messenger_db: MessengerDatabase, journal: MysqlJournal) -> None:
    """Of 256 chats one would not be found again, and its messages be lost."""
    one, other = bytes(15) + b"\1", b"\1" + bytes(15)
    client_ids = [b"\2" + bytes(15), b"\2" + bytes(14) + b"\1"]
    chat_id = messenger_db.direct(one, other)
    membership = Membership(chat_id, False, 1, frozenset([one, other]))
    for retry in (False, True):
        asked = PendingSend(membership, other, client_ids, ["a", "b"], NotedReply(), retry)
        await journal.write(Writes([asked], {(chat_id, one): (1, 0)}, presence={other: (True, 1)}))
        assert [key.seq for key in stored_keys(asked)] == [1, 2]
    assert [message.client_id for message in messenger_db.history(chat_id)] == client_ids


@pytest.mark.parametrize("defaults", [LATIN1, GENERAL_CI, UCA1400])
async def test_texts_come_back_as_they_went(mariadb: MariadbServer, defaults: str) -> None:
    """On a schema of other character sets emoji would be question marks, or refused."""
    schema = mariadb.make_schema(defaults)
    await migrate_database(schema.address, KIND)
    messenger_db = MessengerDatabase(schema)
    writer = MysqlWriter(schema.address)
    texts = [
        "\N{PILE OF POO} \N{CYRILLIC SMALL LETTER IO}",
        " spaces ",
        "'\"\\%s\0\n\x1a",
        "\U0010ffff",
        "x" * 66_000,
    ]
    chat_id = messenger_db.direct(ALICE, BOB)
    await MysqlJournal(writer).write(Writes([request(chat_id, *texts)]))
    assert [message.text for message in messenger_db.history(chat_id)] == texts
    await writer.close()
    messenger_db.close()
    schema.drop()


async def test_a_batch_of_long_texts_is_many_statements(
    messenger_db: MessengerDatabase, journal: MysqlJournal
) -> None:
    """Above 4 MiB a server refuses a statement: such a batch could never be written."""
    chat_id = messenger_db.direct(ALICE, BOB)
    # Escaped, each of these is twice as long
    batch = [request(chat_id, "'" * 65_536) for _ in range(100)]
    await journal.write(writes := Writes(batch))
    assert writes.error is None
    assert [send.error for send in batch] == [None] * 100
    assert len(messenger_db.history(chat_id)) == 100


async def test_a_chat_that_somebody_holds_keeps_no_other_waiting(
    messenger_db: MessengerDatabase, journal: MysqlJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A messenger that is frozen within a transaction would stop all others."""
    monkeypatch.setattr(
        mysql_connections, "SESSION", mysql_connections.SESSION.replace("timeout = 2", "timeout = 1")
    )
    held, free = messenger_db.direct(ALICE, BOB), messenger_db.direct(ALICE, new_id())
    database = messenger_db.open_database()
    locked, done = Signal(), Signal()

    def hold(connection: Connection) -> None:
        connection.execute(select(chats.c.id).where(chats.c.id == held).with_for_update()).all()
        locked.set()
        done.wait_in_work()

    holding = asyncio.create_task(database.write(hold))
    await locked.wait()
    for number in (1, 2):
        batch = [request(held, "a"), request(free, "b")]
        receipts = {(held, BOB): (1, 1), (free, ALICE): (number, number)}
        await journal.write(writes := Writes(batch, receipts))
        assert isinstance(batch[0].error, DatabaseUnavailableError)
        assert batch[0].error.kind is UNAVAILABLE
        assert (batch[1].error, batch[1].first_seq) == (None, number)
        assert writes.busy == {held}
        assert set(writes.stored_receipts) == {(free, ALICE)}
    done.set()
    await holding
    await database.close()
    batch = [request(held, "a"), request(free, "b")]
    await journal.write(writes := Writes(batch, {(held, BOB): (1, 1)}))
    assert [send.error for send in batch] == [None, None]
    assert not writes.busy
    assert set(writes.stored_receipts) == {(held, BOB)}
    assert [message.text for message in messenger_db.history(held)] == ["a"]


async def test_a_batch_whose_answer_was_lost_is_written_once(
    messenger_db: MessengerDatabase, journal: MysqlJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that breaks within a commit would double all messages of a batch, or number it twice."""
    chat_id = messenger_db.direct(ALICE, BOB)
    await journal.write(Writes([request(chat_id, "first")]))
    whole = mysql_connections.run_transaction
    lost: list[int] = []

    def lose_answer(connection: Connection, work: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        result = whole(connection, work, args, kwargs)
        if not lost:
            lost.append(1)
            raise OperationalError(2013, "lost within the answer to COMMIT")
        return result

    monkeypatch.setattr(mysql_connections, "run_transaction", lose_answer)
    asked = request(chat_id, "a", "b")
    await journal.write(writes := Writes([asked], {(chat_id, BOB): (1, 0)}))
    assert lost
    assert [key.seq for key in stored_keys(asked)] == [2, 3]
    # New, so that it is delivered as such
    assert asked.stored is None
    assert writes.position == (1, 2)
    assert [message.text for message in messenger_db.history(chat_id)] == ["first", "a", "b"]
    commits = messenger_db.write(read_after, {1: 1}, 10)
    assert [commit.position for commit in commits] == [writes.position]
    assert commits[0].entries == [*writes.appended, *writes.others]


async def test_connections_that_are_killed_cost_nothing(
    messenger_db: MessengerDatabase, journal: MysqlJournal
) -> None:
    """Each failover of the server would double messages, or leave holes in chats and in the log."""
    assert messenger_db.schema is not None
    schema = messenger_db.schema
    chat_id = messenger_db.direct(ALICE, BOB)
    is_over = False

    async def kill() -> None:
        while not is_over:
            await asyncio.to_thread(schema.server.kill_connections, schema.name)
            await asyncio.sleep(random.random() * 0.1)

    killing = asyncio.create_task(kill())
    stored: list[int] = []
    for number in range(60):
        asked = request(chat_id, f"{number}")
        try:
            await journal.write(Writes([asked]))
        except DatabaseUnavailableError:
            asked.retry = True
            await asyncio.sleep(0.1)
            await journal.write(Writes([asked]))
        stored += [key.seq for key in stored_keys(asked)]
    is_over = True
    await killing
    assert stored == list(range(1, 61))
    assert [message.text for message in messenger_db.history(chat_id)] == [f"{n}" for n in range(60)]
    assert all(found == list(range(1, len(found) + 1)) for found in numbers(messenger_db).values())
