"""What is SQLite's own behind the port `Database`."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

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
