"""Schema versions."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, inspect, text

from palaver.runtime.sql.migrations import SchemaTooNewError, migrate, newest_version
from palaver.runtime.sql.sqlite import sqlite_engine
from palaver.runtime.startup import StartError

FIRST = """
import sqlalchemy as sa
from alembic import op
revision = "0001"
down_revision = None
def upgrade():
    op.create_table("things", sa.Column("id", sa.Integer, primary_key=True))
    op.execute("INSERT INTO things VALUES (7)")
"""
SECOND = """
import sqlalchemy as sa
from alembic import op
revision = "0002"
down_revision = "0001"
def upgrade():
    op.add_column("things", sa.Column("name", sa.String(10), nullable=False, server_default="old"))
"""
BROKEN = """
from alembic import op
revision = "0002"
down_revision = "0001"
def upgrade():
    op.execute("CREATE TABLE half (id INTEGER)")
    op.execute("this is no SQL")
"""


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """A directory with one script."""
    path = tmp_path / "migrations"
    path.mkdir()
    (path / "__init__.py").write_text("")
    (path / "0001_first.py").write_text(FIRST)
    return path


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    """A connection to a database in a file."""
    engine = sqlite_engine(tmp_path / "things.db")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def run(connection: Connection, scripts: Path) -> bool:
    with connection.begin():
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        return migrate(connection, scripts)


def version(connection: Connection) -> object:
    with connection.begin():
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()


def tables(connection: Connection) -> set[str]:
    with connection.begin():
        return set(inspect(connection).get_table_names())


def test_new_database_gets_the_newest_schema(connection: Connection, scripts: Path) -> None:
    """A first start would have no tables."""
    (scripts / "0002_second.py").write_text(SECOND)
    assert run(connection, scripts) is True
    assert version(connection) == newest_version(scripts) == "0002"
    with connection.begin():
        assert connection.execute(text("SELECT id, name FROM things")).all() == [(7, "old")]


def test_second_start_does_nothing(connection: Connection, scripts: Path) -> None:
    """Every start would migrate again, and fail or lose data."""
    run(connection, scripts)
    assert run(connection, scripts) is False


def test_old_database_keeps_its_data(connection: Connection, scripts: Path) -> None:
    """An upgrade of Palaver would lose what was stored."""
    run(connection, scripts)
    (scripts / "0002_second.py").write_text(SECOND)
    assert run(connection, scripts) is True
    with connection.begin():
        assert connection.execute(text("SELECT id, name FROM things")).all() == [(7, "old")]


def test_newer_schema_is_refused_and_left_alone(connection: Connection, scripts: Path) -> None:
    """An older program would write what a newer schema forbids; the operator is told in one line."""
    (scripts / "0002_second.py").write_text(SECOND)
    run(connection, scripts)
    (scripts / "0002_second.py").unlink()
    with pytest.raises(
        SchemaTooNewError, match=r"^database .*/things.db has schema 0002, .* knows 0001: .*$"
    ) as caught:
        run(connection, scripts)
    assert isinstance(caught.value, StartError)
    assert version(connection) == "0002"


def test_failed_script_leaves_the_old_schema(connection: Connection, scripts: Path) -> None:
    """A migration that fails in its middle would leave a database that no version can use."""
    run(connection, scripts)
    (scripts / "0002_broken.py").write_text(BROKEN)
    with pytest.raises(Exception, match="syntax error"):
        run(connection, scripts)
    assert version(connection) == "0001"
    assert tables(connection) == {"alembic_version", "things"}
