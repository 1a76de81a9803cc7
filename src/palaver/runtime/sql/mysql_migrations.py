"""Migrations on MySQL: one migrator at a time, and each step for itself.

A named lock of the server's belongs to the migrator's connection, and goes with it where that is killed.
"""

import contextlib
import hashlib
from collections.abc import Iterator

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError

from palaver.runtime.sql.columns import CHARSET
from palaver.runtime.sql.database_file import DatabaseKind, SchemaTooNewError, newest_version, too_new
from palaver.runtime.sql.migrations import run_scripts
from palaver.runtime.startup import StartError

# A migrator waits for another as long; large tables take their time
LOCK_SECONDS = 300
# A step waits so long for transactions that use its table. All new ones wait behind it
TABLE_SECONDS = 10

_VERSION_TABLE = """
CREATE TABLE IF NOT EXISTS alembic_version (
    version_num VARCHAR(32) CHARACTER SET {charset} COLLATE {collation} NOT NULL PRIMARY KEY
) ENGINE=InnoDB COMMENT='{mark}'
"""


def migrate_mysql(connection: Connection, kind: DatabaseKind, name: str) -> bool:
    """Brings the schema to the newest version. False: it was there already. `name`: for the operator.

    The connection is in no transaction: MySQL commits each step. Raises `StartError` where the schema is
    another service's or program's, and `SchemaTooNewError`.
    """
    if not is_outdated(connection, kind, name):
        return False
    with only_migrator(connection, name):
        # Another one may have come first
        if not is_outdated(connection, kind, name):
            return False
        connection.execute(text(f"SET SESSION lock_wait_timeout = {TABLE_SECONDS}"))
        connection.execute(text(_VERSION_TABLE.format(**CHARSET, mark=mark_of(kind))))
        connection.commit()
        run_scripts(connection, kind.migrations)
        connection.commit()
    return True


def is_outdated(connection: Connection, kind: DatabaseKind, name: str) -> bool:
    """Whether scripts are missing. Raises as `migrate_mysql` does."""
    tables = set(inspect(connection).get_table_names())
    version = None
    if "alembic_version" in tables:
        check_mark(connection, kind, name)
        version = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    elif tables:
        raise not_ours(kind, name)
    connection.rollback()
    newest = newest_version(kind.migrations)
    if version is not None and version > newest:
        raise SchemaTooNewError(too_new(name, version, newest))
    return version != newest


def check_mark(connection: Connection, kind: DatabaseKind, name: str) -> None:
    """Raises `StartError` where another service or program has made the versions' table."""
    if inspect(connection).get_table_comment("alembic_version")["text"] != mark_of(kind):
        raise not_ours(kind, name)


def mark_of(kind: DatabaseKind) -> str:
    """The comment of the versions' table, by which a service knows its schema."""
    return f"palaver {kind.service}"


@contextlib.contextmanager
def only_migrator(connection: Connection, name: str) -> Iterator[None]:
    """Holds the lock of the schema's migrators. Raises `StartError` where another one keeps it for long."""
    # The server's locks have names of 64 characters at most, and know no schema
    schema = str(connection.engine.url.database)
    lock = {"name": f"palaver {hashlib.sha256(schema.encode()).hexdigest()[:32]}", "seconds": LOCK_SECONDS}
    if connection.execute(text("SELECT GET_LOCK(:name, :seconds)"), lock).scalar() != 1:
        raise StartError(f"database {name} is being migrated: start again after that", passes=True)
    try:
        yield
    finally:
        # It goes with a connection that is lost, too
        with contextlib.suppress(DBAPIError):
            connection.execute(text("SELECT RELEASE_LOCK(:name)"), lock)
            connection.rollback()


def not_ours(kind: DatabaseKind, name: str) -> StartError:
    """The line for another service's or another program's schema."""
    return StartError(
        f"database {name} is not one of {kind.service}, but of another service or program: "
        f"look at {kind.service}.database_url"
    )
