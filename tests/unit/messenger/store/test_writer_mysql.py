"""Writers on MySQL: whose numbers are whose, and in which order."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import Connection, select, update

from palaver.contracts.ids import new_id
from palaver.messenger.events import Event, MembersChanged, Position
from palaver.messenger.store import writer_mysql
from palaver.messenger.store.commit_log import LogTrimmedError, read_after, read_newest, trim_log
from palaver.messenger.store.schema import chats, commit_log, writers
from palaver.messenger.store.writer_mysql import MysqlWriter, MysqlWriters
from palaver.runtime.sql.database import DatabaseUnavailableError
from tests.harness.messenger_database import MessengerDatabase

CHAT = new_id()


@pytest.fixture
def sql_engine() -> str:
    """MariaDB alone."""
    return "mariadb"


@contextlib.asynccontextmanager
async def opened_writer(messenger_db: MessengerDatabase) -> AsyncIterator[MysqlWriter]:
    """A writer of another process's, during the block."""
    assert messenger_db.schema is not None
    writer = MysqlWriter(messenger_db.schema.address)
    yield writer
    await writer.close()


def touch(_: Connection, number: int) -> tuple[int, list[Event]]:
    """A change."""
    return number, [MembersChanged(CHAT, (number.to_bytes(16, "big"),))]


async def commit(writer: MysqlWriter | MysqlWriters, number: int = 0) -> Position:
    """Commits a change. Returns its position."""
    result, events, position = await writer.commit(touch, (number,), {})
    assert (result, events) == touch(None, number)  # type: ignore[arg-type] # it needs none
    assert position is not None
    return position


def expire_all(connection: Connection) -> None:
    """All claims end, as they do when nothing is committed for long."""
    connection.execute(update(writers).values(expires_at=0))


async def test_each_writer_has_numbers_of_its_own(messenger_db: MessengerDatabase) -> None:
    """Two processes would give one number to two transactions, and followers pass over one of them."""
    async with opened_writer(messenger_db) as one, opened_writer(messenger_db) as other:
        both = MysqlWriters([one, other])
        found = await asyncio.gather(
            *(commit(writer, number) for number in range(40) for writer in (one, other)),
            *(commit(both, number) for number in range(20)),
        )
    by_writer = {writer: sorted(p.number for p in found if p.writer == writer) for writer in (1, 2)}
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in by_writer.values())
    assert sum(map(len, by_writer.values())) == 100
    commits = messenger_db.write(read_after, {}, 1_000)
    assert {found.position for found in commits} == set(found)


async def test_what_touches_nothing_takes_no_number(messenger_db: MessengerDatabase) -> None:
    """Followers would wait for a transaction that never was."""
    async with opened_writer(messenger_db) as writer:
        assert await writer.commit(lambda _: ("same", []), (), {}) == ("same", [], None)

        def fail(_: Connection) -> tuple[None, list[Event]]:
            raise LookupError

        with pytest.raises(LookupError):
            await writer.commit(fail, (), {})
        assert await commit(writer) == Position(1, 1)


async def test_a_released_number_is_used_again(messenger_db: MessengerDatabase) -> None:
    """With each restart all positions that gateways carry would become longer, for ever."""
    for start in range(5):
        async with opened_writer(messenger_db) as writer:
            assert await commit(writer) == Position(1, start + 1)
    assert messenger_db.write(lambda c: c.execute(select(writers.c.id, writers.c.token)).all()) == [(1, 5)]


async def test_a_process_whose_claim_was_taken_writes_nothing_under_it(
    messenger_db: MessengerDatabase,
) -> None:
    """One that wakes after a long pause would write under the number of another one."""
    async with opened_writer(messenger_db) as paused, opened_writer(messenger_db) as taker:
        assert await commit(paused) == Position(1, 1)
        messenger_db.write(expire_all)
        assert await commit(taker) == Position(1, 2)
        # Refused, and written under a claim of its own
        assert await commit(paused, 7) == Position(2, 1)
        assert await commit(taker) == Position(1, 3)
    assert len(messenger_db.write(read_after, {}, 10)) == 4


async def test_a_claim_that_ended_and_was_not_taken_is_good(messenger_db: MessengerDatabase) -> None:
    """Each quiet night would need another number."""
    async with opened_writer(messenger_db) as writer:
        await commit(writer)
        messenger_db.write(expire_all)
        assert await commit(writer) == Position(1, 2)
        ((expires_at,),) = messenger_db.write(lambda c: c.execute(select(writers.c.expires_at)).all())
        assert expires_at > 0


async def test_claims_at_one_moment_are_of_different_writers(messenger_db: MessengerDatabase) -> None:
    """Replicas that start together would share a number."""
    async with contextlib.AsyncExitStack() as stack:
        several = [await stack.enter_async_context(opened_writer(messenger_db)) for _ in range(6)]
        found = await asyncio.gather(*map(commit, several))
    assert sorted(found) == [Position(writer, 1) for writer in range(1, 7)]
    async with contextlib.AsyncExitStack() as stack:
        several = [await stack.enter_async_context(opened_writer(messenger_db)) for _ in range(6)]
        found = await asyncio.gather(*map(commit, several))
    assert sorted(found) == [Position(writer, 2) for writer in range(1, 7)]


async def test_a_process_that_loses_every_claim_says_so(
    messenger_db: MessengerDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would try for ever, and its users wait."""

    def lose(*_: object) -> None:
        raise writer_mysql.ClaimLostError

    async with opened_writer(messenger_db) as writer:
        monkeypatch.setattr(writer_mysql, "append_entries", lose)
        with pytest.raises(DatabaseUnavailableError):
            await commit(writer)


async def test_followers_of_a_silent_writer_are_up_to_date(messenger_db: MessengerDatabase) -> None:
    """Gateways would send all sockets away because one messenger had nothing to do."""
    async with opened_writer(messenger_db) as silent, opened_writer(messenger_db) as busy:
        for number in range(3):
            await commit(silent, number)
        for number in range(20):
            await commit(busy, number)
    newest = messenger_db.write(read_newest)
    assert newest == {1: 3, 2: 20}
    assert messenger_db.write(trim_log, newest, 1_000) == 21
    assert messenger_db.write(read_after, newest, 10) == []
    assert len(messenger_db.write(read_after, {1: 3, 2: 19}, 10)) == 1
    for behind in ({1: 1, 2: 20}, {1: 3, 2: 5}, {1: 3}):
        with pytest.raises(LogTrimmedError):
            messenger_db.write(read_after, behind, 10)


async def test_a_transaction_is_visible_with_its_number(messenger_db: MessengerDatabase) -> None:
    """Followers would read a number, and not find what it stands for; and never look again."""
    chat_id = messenger_db.direct(new_id(), new_id())

    def set_end(connection: Connection, seq: int) -> tuple[None, list[Event]]:
        connection.execute(update(chats).where(chats.c.id == chat_id).values(last_seq=seq))
        return None, [MembersChanged(chat_id, ())]

    def look(connection: Connection) -> tuple[int, int]:
        newest = read_newest(connection)
        end: int = connection.execute(select(chats.c.last_seq)).scalar_one()
        return newest.get(1, 0), end

    database = messenger_db.open_database()
    async with opened_writer(messenger_db) as writer:
        writing = asyncio.gather(*(writer.commit(set_end, (seq,), {}) for seq in range(1, 61)))
        while not writing.done():
            number, end = await database.read(look)
            assert number == end
        await writing
    await database.close()
    assert messenger_db.write(lambda c: len(c.execute(select(commit_log.c.number)).all())) == 60
