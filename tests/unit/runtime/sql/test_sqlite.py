"""What is SQLite's own behind the port `Database`."""

import asyncio
import os
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from palaver.contracts.errors import RATE_LIMITED, PalaverError
from palaver.runtime.fair_turns import MOST_OF_ONE
from palaver.runtime.requester import work_for
from palaver.runtime.sql.database import DatabaseUnavailableError
from palaver.runtime.sql.health import is_usable
from palaver.runtime.sql.sqlite import LONG_LOCK_SECONDS, SqliteDatabase, sqlite_engine
from tests.unit.runtime.sql.things import add, make_table


def pragma(connection: Connection, name: str) -> object:
    return connection.exec_driver_sql(f"PRAGMA {name}").scalar()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    """A database with one empty table."""
    database = SqliteDatabase(tmp_path / "things.db")
    await database.write(make_table)
    yield database
    await database.close()


async def test_commits_are_durable(database: SqliteDatabase) -> None:
    """A message that was acked would be lost with the power: WAL is synced at commit only where FULL (2)."""
    for run in (database.read, database.write):
        assert await run(pragma, "journal_mode") == "wal"
        assert await run(pragma, "synchronous") == 2
        assert await run(pragma, "foreign_keys") == 1


async def test_writes_of_ddl_roll_back(database: SqliteDatabase) -> None:
    """A migration that fails would leave half of a schema behind."""

    def make_half(connection: Connection) -> None:
        connection.execute(text("CREATE TABLE half (id INTEGER)"))
        raise LookupError

    with pytest.raises(LookupError):
        await database.write(make_half)
    tables = await database.read(
        lambda connection: connection.execute(text("SELECT name FROM sqlite_master")).scalars().all()
    )
    assert "half" not in tables


async def test_files_belong_to_the_owner_alone(tmp_path: Path) -> None:
    """Other users of the machine could read signing keys and messages."""
    old = os.umask(0)
    try:
        path = tmp_path / "new" / "things.db"
        database = SqliteDatabase(path)
        await database.write(make_table)
        modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
        await database.close()
    finally:
        os.umask(old)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert modes == dict.fromkeys(("things.db", "things.db-wal", "things.db-shm"), 0o600)


def test_path_may_have_any_character(tmp_path: Path) -> None:
    """A data directory whose name has a `?` or `%` would be another one."""
    engine = sqlite_engine(tmp_path / "100%?x=1#ü.db")
    with engine.connect() as connection:
        make_table(connection)
    engine.dispose()
    assert (tmp_path / "100%?x=1#ü.db").stat().st_size > 0


async def test_a_long_wait_for_the_lock_is_written_down(database: SqliteDatabase, tmp_path: Path) -> None:
    """A backup that keeps everybody waiting would show as slow messages, and nobody would know why."""
    other = sqlite3.connect(tmp_path / "things.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    asyncio.get_running_loop().call_later(LONG_LOCK_SECONDS + 0.2, other.rollback)
    with capture_logs() as lines:
        await database.write(add, 1)
        await database.write(add, 2)
    other.close()
    assert [(line["event"], line["database"]) for line in lines] == [("write_lock_waited_for", "things.db")]
    assert lines[0]["seconds"] >= LONG_LOCK_SECONDS


async def test_a_full_database_is_unavailable_and_works_again(tmp_path: Path) -> None:
    """Users would get a 500 for a full disk, and `/readyz` would say that all is well."""
    database = SqliteDatabase(tmp_path / "full.db")

    def limit(connection: Connection, pages: int) -> None:
        connection.execute(text(f"PRAGMA max_page_count = {pages}"))

    def insert(connection: Connection, size: int) -> None:
        connection.execute(text("CREATE TABLE IF NOT EXISTS blobs (content BLOB)"))
        connection.execute(text("INSERT INTO blobs VALUES (zeroblob(:size))"), {"size": size})

    await database.write(insert, 10)
    assert await is_usable(database)
    await database.write(limit, 4)
    for write in (database.write, database.write_short):
        with pytest.raises(DatabaseUnavailableError) as refused:
            await write(insert, 1 << 20)
        assert refused.value.debug == {"database": "SQLITE_FULL"}
        assert refused.value.retry_after > 0
        assert database.is_failing
    await database.write(limit, 1 << 20)
    await database.write(insert, 1 << 20)
    assert not database.is_failing
    await database.close()


async def test_a_mistake_of_ours_is_not_unavailable(tmp_path: Path) -> None:
    """Clients would repeat for ever what can never succeed, and nobody would look for the mistake."""
    database = SqliteDatabase(tmp_path / "full.db")
    with pytest.raises(OperationalError):
        await database.write(lambda connection: connection.execute(text("SELECT * FROM nothing")))
    assert not database.is_failing
    assert await is_usable(database)
    await database.close()


@pytest.mark.parametrize("operation", ["read", "write"])
async def test_who_asks_for_much_does_not_keep_others_waiting(tmp_path: Path, operation: str) -> None:
    """One user with a hundred edits or lists would keep everybody's messages and pages waiting for them."""
    # One reader: of two, the system may let the one run while the other ends many
    database = SqliteDatabase(tmp_path / "turns.db", readers=1)
    done: list[str] = []

    def note(_: Connection, name: str) -> None:
        done.append(name)

    async def run(name: str) -> None:
        if name != "journal":
            work_for(name)
        await getattr(database, operation)(note, name)

    names = [*["greedy"] * MOST_OF_ONE, "alice", "journal"]
    async with asyncio.timeout(20):
        await asyncio.gather(*map(run, names))
    assert max(done.index("alice"), done.index("journal")) <= 3
    assert len(done) == len(names)
    await database.close()


async def test_who_asks_for_too_much_is_refused_alone(database: SqliteDatabase) -> None:
    """One user's requests would fill the memory, or everybody would be refused for them."""

    async def run(name: str, number: int) -> None:
        work_for(name)
        await database.write(add, number)

    asked = [asyncio.create_task(run("greedy", number)) for number in range(MOST_OF_ONE + 30)]
    alice = asyncio.create_task(run("alice", 1_000))
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    await alice
    refused = [one for one in outcomes if isinstance(one, PalaverError)]
    assert len(refused) == 29
    assert {one.kind for one in refused} == {RATE_LIMITED}


async def test_a_write_whose_caller_gave_up_keeps_its_turn(database: SqliteDatabase) -> None:
    """Two transactions would run on one connection, and one would roll the other back."""
    begun, go_on = threading.Event(), threading.Event()

    def hold(connection: Connection) -> None:
        begun.set()
        go_on.wait(10)
        add(connection, 1)

    held = asyncio.create_task(database.write(hold))
    await asyncio.to_thread(begun.wait, 10)
    held.cancel()
    second = asyncio.create_task(database.write_short(add, 2))
    await asyncio.wait([held, second], timeout=0.1)
    assert not second.done()
    go_on.set()
    await second
    rows = await database.read(lambda connection: connection.execute(text("SELECT * FROM things")).all())
    assert len(rows) == 2
