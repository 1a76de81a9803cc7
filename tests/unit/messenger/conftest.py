"""A messenger database, and connections to it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import Connection

from palaver.messenger.migrations import MIGRATIONS
from palaver.runtime.sql.database import Database
from tests.harness.messenger_database import MessengerDatabase
from tests.harness.migrated_database import migrated_connection


@pytest.fixture
def connection(request: pytest.FixtureRequest, sql_engine: str, tmp_path: Path) -> Iterator[Connection]:
    """A connection within a transaction, on a migrated database."""
    if sql_engine == "sqlite":
        with migrated_connection(tmp_path / "messenger.db", MIGRATIONS) as connection:
            yield connection
    else:
        messenger_db: MessengerDatabase = request.getfixturevalue("messenger_db")
        with messenger_db.transaction() as connection:
            yield connection


@pytest_asyncio.fixture
async def database(messenger_db: MessengerDatabase) -> AsyncIterator[Database]:
    """The connections of a replica to the place's database."""
    database = messenger_db.open_database()
    yield database
    await database.close()
