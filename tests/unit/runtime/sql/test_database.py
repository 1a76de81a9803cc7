"""SQLite behind the port `Database`."""

import asyncio
import os
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError, OperationalError
from structlog.testing import capture_logs

from palaver.runtime.sql.database import LONG_LOCK_SECONDS, SqliteDatabase, sqlite_engine
from palaver.runtime.telemetry.tracing import tracer
from tests.harness.tracing import SAMPLED, recording

BOUND_SECONDS = 10.0


def make_table(connection: Connection) -> None:
    connection.execute(text("CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT)"))


def add(connection: Connection, number: int, name: str = "") -> None:
    connection.execute(text("INSERT INTO things VALUES (:id, :name)"), {"id": number, "name": name})


def count(connection: Connection) -> int:
    return int(connection.execute(text("SELECT count(*) FROM things")).scalar_one())


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


async def test_what_was_written_survives_a_restart(database: SqliteDatabase, tmp_path: Path) -> None:
    """Everything would be gone after a restart."""
    await database.write(add, 1, "kept")
    await database.close()
    again = SqliteDatabase(tmp_path / "things.db")
    assert await again.read(count) == 1
    await again.close()


async def test_exception_rolls_all_of_it_back(database: SqliteDatabase) -> None:
    """Half of a change would stay: a message without its seq, a session without its token."""

    def add_half(connection: Connection) -> None:
        add(connection, 1)
        add(connection, 2)
        raise LookupError("the rest went wrong")

    with pytest.raises(LookupError):
        await database.write(add_half)
    assert await database.read(count) == 0
    await database.write(add, 1)
    assert await database.read(count) == 1


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


async def test_reads_go_on_while_something_is_written(database: SqliteDatabase) -> None:
    """Every profile and history would wait for every write."""
    written, read = threading.Event(), threading.Event()

    def add_slowly(connection: Connection) -> None:
        add(connection, 1)
        written.set()
        assert read.wait(BOUND_SECONDS)

    writing = asyncio.create_task(database.write(add_slowly))
    await asyncio.to_thread(written.wait, BOUND_SECONDS)
    async with asyncio.timeout(BOUND_SECONDS):
        assert await asyncio.gather(*(database.read(count) for _ in range(20))) == [0] * 20
    read.set()
    await writing
    assert await database.read(count) == 1


async def test_reads_go_on_beside_each_other(database: SqliteDatabase) -> None:
    """One slow search would hold up all other reads."""
    both = threading.Barrier(2)

    def meet(_: Connection) -> int:
        return both.wait(BOUND_SECONDS)

    assert sorted(await asyncio.gather(database.read(meet), database.read(meet))) == [0, 1]


async def test_a_read_sees_one_state(database: SqliteDatabase) -> None:
    """A page and its total would disagree, a chat's last message and its seq too."""
    counted, written = threading.Event(), threading.Event()

    def count_twice(connection: Connection) -> tuple[int, int]:
        first = count(connection)
        counted.set()
        assert written.wait(BOUND_SECONDS)
        return first, count(connection)

    reading = asyncio.create_task(database.read(count_twice))
    await asyncio.to_thread(counted.wait, BOUND_SECONDS)
    await database.write(add, 1)
    written.set()
    assert await reading == (0, 0)
    assert await database.read(count) == 1


async def test_reads_cannot_write(database: SqliteDatabase) -> None:
    """A statement that writes would slip past the one writer, and fail under load alone."""
    with pytest.raises(OperationalError, match="readonly"):
        await database.read(add, 1)
    assert await database.read(count) == 0


async def test_writes_follow_one_another(database: SqliteDatabase) -> None:
    """Two who read and then write would overwrite each other's change."""

    def add_next(connection: Connection) -> None:
        add(connection, count(connection))

    await asyncio.gather(*(database.write(add_next) for _ in range(200)))
    assert await database.read(count) == 200


async def test_two_processes_take_turns(database: SqliteDatabase, tmp_path: Path) -> None:
    """`palaver keys rotate` beside a running auth would fail with a locked database."""
    other = SqliteDatabase(tmp_path / "things.db")
    writes = [one.write(add, number) for number in range(100) for one in (database, other)[number % 2 :][:1]]
    await asyncio.gather(*writes)
    assert await other.read(count) == 100
    await other.close()


async def test_close_waits_for_what_runs(tmp_path: Path) -> None:
    """What was accepted just before a stop would be lost."""
    database = SqliteDatabase(tmp_path / "things.db")
    await database.write(make_table)
    writes = [asyncio.create_task(database.write(add, number)) for number in range(50)]
    await asyncio.sleep(0)
    await database.close()
    await asyncio.gather(*writes)
    again = SqliteDatabase(tmp_path / "things.db")
    assert await again.read(count) == 50
    await again.close()


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


async def test_errors_do_not_tell_parameters(database: SqliteDatabase) -> None:
    """Password hashes and message texts would reach the log with an SQL error."""
    await database.write(add, 1)
    with pytest.raises(IntegrityError) as caught:
        await database.write(add, 1, "a secret")
    assert "a secret" not in str(caught.value)


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


@pytest.mark.parametrize("run", ["read", "read_short"])
async def test_transactions_of_a_request_are_told_of(database: SqliteDatabase, run: str) -> None:
    """A trace would not say whether a request waited for its database."""
    with recording() as recorded:
        with tracer.serve("request", SAMPLED, {}, is_edge=True) as work:
            await getattr(database, run)(count)
        await getattr(database, run)(count)
    span = recorded.span("count")
    assert (span.kind, span.parent_id, span.error) == ("client", work.span_id, "")
    assert span.attributes == {
        "db.system.name": "sqlite",
        "db.namespace": "things.db",
        "db.operation.name": "read",
    }


@pytest.mark.parametrize("run", ["write", "write_short"])
async def test_failed_transactions_are_told_of(database: SqliteDatabase, run: str) -> None:
    """A trace would show that a write went well which did not; or what was to be written."""
    with recording() as recorded, tracer.serve("request", SAMPLED, {}, is_edge=True):
        await getattr(database, run)(add, 1, "a secret")
        with pytest.raises(IntegrityError):
            await getattr(database, run)(add, 1, "a secret")
    first, second = [span for span in recorded.spans if span.name == "add"]
    assert (first.error, second.error) == ("", "IntegrityError")
    assert first.attributes["db.operation.name"] == "write"
    assert "a secret" not in str([span.attributes for span in recorded.spans])
