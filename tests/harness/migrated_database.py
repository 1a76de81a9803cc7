"""A service's database file, with all migrations applied."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection

from palaver.runtime.sql.migrations import migrate
from palaver.runtime.sql.sqlite import sqlite_engine


@contextlib.contextmanager
def migrated_connection(file: Path, migrations: Path) -> Iterator[Connection]:
    """A connection within a transaction, during the block."""
    engine = sqlite_engine(file)
    with engine.connect() as connection, connection.begin():
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        migrate(connection, migrations)
        yield connection
    engine.dispose()
