"""The database's clock."""

import time

from sqlalchemy import create_engine, select
from sqlalchemy.dialects import mysql

from palaver.runtime.sql.clock import database_now
from tests.harness.mariadb import MariadbSchema


def test_it_is_this_moment_in_microseconds() -> None:
    """Leases would end at once, or never."""
    with create_engine("sqlite://").connect() as connection:
        before = time.time_ns() // 1000
        found = connection.execute(select(database_now())).scalar_one()
        after = time.time_ns() // 1000
    # SQLite counts milliseconds
    assert before - 2_000 <= found <= after + 2_000


def test_a_servers_time_zone_does_not_matter(mariadb_schema: MariadbSchema) -> None:
    """A server in another time zone would end all leases, or keep them for hours."""
    statement = select(database_now()).compile(dialect=mysql.dialect())
    before = time.time_ns() // 1000
    [(found,)] = mariadb_schema.execute(f"SET STATEMENT time_zone = '+05:00' FOR {statement}")
    assert before <= found <= time.time_ns() // 1000
