"""A messenger database in a file."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from palaver.messenger.migrations import MIGRATIONS
from palaver.runtime.migrations import migrate
from palaver.runtime.sql import sqlite_engine


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    """A connection within a transaction, on a migrated database."""
    engine = sqlite_engine(tmp_path / "messenger.db")
    with engine.connect() as connection, connection.begin():
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        migrate(connection, MIGRATIONS)
        yield connection
    engine.dispose()
