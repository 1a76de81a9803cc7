"""An auth database in a file."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from palaver.auth.migrations import MIGRATIONS
from palaver.runtime.settings.auth import AuthSettings
from palaver.runtime.sql.migrations import migrate
from palaver.runtime.sql.sqlite import SqliteDatabase, sqlite_engine


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    """A connection within a transaction, on a migrated database."""
    engine = sqlite_engine(tmp_path / "auth.db")
    with engine.connect() as connection, connection.begin():
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        migrate(connection, MIGRATIONS)
        yield connection
    engine.dispose()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    """A migrated database."""
    database = SqliteDatabase(tmp_path / "auth.db")
    await database.write(migrate, MIGRATIONS)
    yield database
    await database.close()


@pytest.fixture
def settings() -> AuthSettings:
    """Settings with which a password costs a tenth of a millisecond, and is not safe."""
    return AuthSettings(argon2_time_cost=1, argon2_memory_kib=8, hashing_threads=2)
