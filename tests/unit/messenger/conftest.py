"""A messenger database in a file."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import Connection

from palaver.messenger.migrations import MIGRATIONS
from palaver.runtime.sql.database import SqliteDatabase
from tests.harness.messenger_database import MessengerDatabase
from tests.harness.migrated_database import migrated_connection


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    """A connection within a transaction, on a migrated database."""
    with migrated_connection(tmp_path / "messenger.db", MIGRATIONS) as connection:
        yield connection


@pytest_asyncio.fixture
async def database(messenger_db: MessengerDatabase) -> AsyncIterator[SqliteDatabase]:
    """The connections of a replica to the test's database."""
    database = SqliteDatabase(messenger_db.file)
    yield database
    await database.close()
