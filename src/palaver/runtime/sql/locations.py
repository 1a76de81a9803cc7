"""A service's database at its start: brought to the newest schema, then opened, wherever it is."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

from palaver.runtime.background import running
from palaver.runtime.sql.database import Database
from palaver.runtime.sql.database_file import DatabaseKind, check_file, opening, prepare_file
from palaver.runtime.sql.health import has_free_space
from palaver.runtime.sql.log_file import keep_log_small
from palaver.runtime.sql.migrations import migrate
from palaver.runtime.sql.sqlite import SqliteDatabase
from palaver.runtime.sql.url import MysqlAddress

# A file, or a schema of a server
Location = Path | MysqlAddress


def check_location(location: Location, kind: DatabaseKind) -> None:
    """Looks at a file before anything is written to it. Raises `StartError`. A server is asked later."""
    if isinstance(location, Path):
        check_file(location, kind)


def exists(location: Location) -> bool:
    """Whether there is a database to work on: opening another file would make one of it. A schema is never
    made, so that asking the server shows it."""
    return isinstance(location, MysqlAddress) or (location.is_file() and location.stat().st_size > 0)


async def migrate_database(location: Location, kind: DatabaseKind) -> bool:
    """Brings a database to the newest schema, making a file that is missing. False: it was there already.

    Raises `StartError`.
    """
    if isinstance(location, MysqlAddress):
        return await migrate_schema(location, kind)
    prepare_file(location, kind)
    with starting_with(location):
        database = SqliteDatabase(location)
        try:
            return await database.write(migrate, kind.migrations)
        finally:
            await database.close()


async def migrate_schema(address: MysqlAddress, kind: DatabaseKind) -> bool:
    """The same on a server."""
    # Here and below: MySQL's driver takes a tenth of a second, which starts on files need not pay
    from palaver.runtime.sql.mysql import check_server
    from palaver.runtime.sql.mysql_connections import mysql_engine
    from palaver.runtime.sql.mysql_migrations import migrate_mysql

    engine = mysql_engine(address, "migrate")
    try:
        with starting_with(address):
            async with engine.connect() as connection:
                await connection.run_sync(check_server)
                return await connection.run_sync(migrate_mysql, kind, str(address))
    finally:
        await engine.dispose()


@contextlib.contextmanager
def starting_with(location: Location) -> Iterator[None]:
    """Turns what the database says at a start into a `StartError` that names it."""
    if isinstance(location, Path):
        with opening(location):
            yield
        return
    from palaver.runtime.sql.mysql import cannot_be_used
    from palaver.runtime.sql.mysql_errors import mysql_number

    try:
        yield
    except Exception as error:
        if mysql_number(error.__cause__ or error) is None:
            raise
        raise cannot_be_used(location, error) from None


def open_database(location: Location, connections: int) -> Database:
    """A database that has the newest schema. `connections`: most of them to a server, half for reads and half
    for writes. Raises `OSError`."""
    if isinstance(location, Path):
        return SqliteDatabase(location)
    from palaver.runtime.sql.mysql import MysqlDatabase

    return MysqlDatabase(location, readers=connections - connections // 2, writers=connections // 2)


@contextlib.asynccontextmanager
async def upkeep(location: Location) -> AsyncIterator[None]:
    """Keeps the log of a file small during the block. A server keeps its own."""
    if isinstance(location, MysqlAddress):
        yield
        return
    async with running(keep_log_small(location)):
        yield


def disk_checks(location: Location) -> dict[str, Callable[[], Awaitable[bool]]]:
    """A check that a file's disk has room. A server's disk shows in what the server answers."""
    if isinstance(location, MysqlAddress):
        return {}
    return {"disk": lambda: has_free_space(location)}
