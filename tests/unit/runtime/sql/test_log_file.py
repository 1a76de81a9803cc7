"""The write-ahead log behind long readers."""

import asyncio
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

import palaver.runtime.sql.sqlite as sqlite
from palaver.runtime.sql import log_file
from palaver.runtime.sql.database import DatabaseUnavailableError
from palaver.runtime.sql.log_file import keep_log_small, shrink_log
from palaver.runtime.sql.sqlite import SqliteDatabase
from tests.harness.waiting import eventually

LARGE = 1 << 20
# More steps than SQLite takes in an hour
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


def log_size(file: Path) -> int:
    return file.with_name(f"{file.name}-wal").stat().st_size


def write_much(connection: Connection) -> None:
    connection.execute(text("CREATE TABLE IF NOT EXISTS blobs (content BLOB)"))
    connection.execute(text("INSERT INTO blobs VALUES (zeroblob(:size))"), {"size": 2 * LARGE})


async def test_the_log_shrinks_when_a_long_reader_has_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After one backup of a busy server the disk would stay as full as it was at its end, for ever."""
    monkeypatch.setattr(log_file, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(log_file, "LOG_BYTES", LARGE)
    file = tmp_path / "a.db"
    database = SqliteDatabase(file)
    await database.write(write_much)
    reader = sqlite3.connect(file, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM blobs").fetchone()
    await database.write(write_much)
    assert await asyncio.to_thread(shrink_log, file) is False
    assert log_size(file) > LARGE
    keeping = asyncio.create_task(keep_log_small(file))
    await asyncio.sleep(0.1)
    assert log_size(file) > LARGE
    reader.execute("COMMIT")
    await eventually(lambda: log_size(file) == 0, "an empty log")
    await database.write(write_much)
    assert reader.execute("SELECT count(*) FROM blobs").fetchone() == (3,)
    keeping.cancel()
    reader.close()
    await database.close()


async def test_a_read_of_ours_is_no_long_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One slow request would let the log grow until the disk is full."""
    monkeypatch.setattr(sqlite, "READ_SECONDS", 0.2)
    database = SqliteDatabase(tmp_path / "a.db")

    def count(connection: Connection, statement: str) -> object:
        return connection.execute(text(statement)).scalar()

    with pytest.raises(DatabaseUnavailableError):
        await database.read(count, ENDLESS)
    assert await database.read(count, "SELECT 1") == 1
    assert not database.is_failing
    await database.close()
