"""An auth database in a file."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from palaver.auth.migrations import MIGRATIONS
from palaver.runtime.settings import AuthSettings
from palaver.runtime.sql.database import SqliteDatabase
from palaver.runtime.sql.migrations import migrate
from tests.harness.migrated_database import migrated_connection


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    """A connection within a transaction, on a migrated database."""
    with migrated_connection(tmp_path / "auth.db", MIGRATIONS) as connection:
        yield connection


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
