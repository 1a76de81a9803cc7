"""An auth database, on each engine."""

from collections.abc import AsyncIterator, Iterator

import pytest
from sqlalchemy import Connection

from palaver.auth.database import KIND
from palaver.runtime.settings.auth import AuthSettings
from palaver.runtime.sql.database import Database
from palaver.runtime.sql.locations import migrate_database, open_database
from tests.harness.auth_service import AuthHome
from tests.harness.migrated_database import migrated_connection

CONNECTIONS = 8


@pytest.fixture
def connection(auth_home: AuthHome) -> Iterator[Connection]:
    """A connection within a transaction, on a migrated database."""
    if auth_home.schema is None:
        opened = migrated_connection(auth_home.data_dir / "auth.db", KIND.migrations)
    else:
        opened = auth_home.schema.connection()
    with opened as connection:
        yield connection


@pytest.fixture
async def database(auth_home: AuthHome) -> AsyncIterator[Database]:
    """A migrated database."""
    await migrate_database(auth_home.location, KIND)
    database = open_database(auth_home.location, CONNECTIONS)
    yield database
    await database.close()


@pytest.fixture
def settings() -> AuthSettings:
    """Settings with which a password costs a tenth of a millisecond, and is not safe."""
    return AuthSettings(argon2_time_cost=1, argon2_memory_kib=8, hashing_threads=2)
