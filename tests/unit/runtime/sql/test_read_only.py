"""Reading a service's database beside it."""

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from palaver.runtime.sql.read_only import reading
from palaver.runtime.sql.sqlite import sqlite_engine
from palaver.runtime.startup import StartError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A database as services make them, which nobody has open."""
    path = tmp_path / "x.db"
    engine = sqlite_engine(path)
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE TABLE t (a)")
        connection.exec_driver_sql("INSERT INTO t VALUES (1)")
    engine.dispose()
    return path


@pytest.fixture
def writer(file: Path) -> Iterator[sqlite3.Connection]:
    """A service's connection, which has written what is in the write-ahead log alone."""
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("INSERT INTO t VALUES (2)")
    yield connection
    connection.close()


def rows(path: Path) -> list[int]:
    """What a reader finds."""
    with reading(path) as connection:
        return [row[0] for row in connection.execute("SELECT a FROM t ORDER BY a")]


def test_a_database_at_rest_is_read_and_left_alone(file: Path) -> None:
    """Files that another user's command leaves there could keep the service from starting."""
    before = os.listdir(file.parent)
    assert rows(file) == [1]
    assert os.listdir(file.parent) == before == ["x.db"]


def test_what_is_committed_is_seen_beside_a_writer(file: Path, writer: sqlite3.Connection) -> None:
    """A message that was just acked would not be found."""
    assert rows(file) == [1, 2]
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("INSERT INTO t VALUES (3)")
    assert rows(file) == [1, 2]


def test_a_writer_does_not_wait(file: Path, writer: sqlite3.Connection) -> None:
    """A look at a message would hold up those that are sent."""
    writer.execute("PRAGMA busy_timeout=0")
    with reading(file) as connection:
        assert len(connection.execute("SELECT a FROM t").fetchall()) == 2
        writer.execute("INSERT INTO t VALUES (3)")
    assert rows(file) == [1, 2, 3]


def test_nothing_can_be_written(file: Path, writer: sqlite3.Connection) -> None:
    """A fault of ours could change the journal."""
    with pytest.raises(StartError, match="readonly database"), reading(file) as connection:
        connection.execute("DELETE FROM t")
    assert writer.execute("SELECT count(*) FROM t").fetchone() == (2,)


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    """An operator would read a traceback."""
    with pytest.raises(StartError, match=f"there is no database {tmp_path}/none.db"):
        rows(tmp_path / "none.db")
    (tmp_path / "text.db").write_text("no database at all, but long enough for one" * 99)
    with pytest.raises(StartError, match="file is not a database"):
        rows(tmp_path / "text.db")
