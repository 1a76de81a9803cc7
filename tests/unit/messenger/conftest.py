"""A messenger database in a file."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import Connection

from palaver.messenger.migrations import MIGRATIONS
from palaver.runtime.sql.migrations import migrate
from palaver.runtime.sql.sqlite import SqliteDatabase, sqlite_engine
from tests.harness.realtime import Place


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    """A connection within a transaction, on a migrated database."""
    engine = sqlite_engine(tmp_path / "messenger.db")
    with engine.connect() as connection, connection.begin():
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        migrate(connection, MIGRATIONS)
        yield connection
    engine.dispose()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A database to make chats in, beside what a test runs on it."""
    place = Place(tmp_path)
    yield place
    place.close()


@pytest_asyncio.fixture
async def database(place: Place) -> AsyncIterator[SqliteDatabase]:
    """The connections of a replica to the place's database."""
    database = SqliteDatabase(place.file)
    yield database
    await database.close()
