"""Whether a database can be used now."""

import asyncio

from sqlalchemy import Connection, text

from palaver.runtime.sql.database import Database
from palaver.runtime.telemetry.configuration import log

# Shorter than supervisors and load balancers wait for `/readyz`
CHECK_SECONDS = 1.0


async def is_usable(database: Database) -> bool:
    """Whether the database can be read and written. Writes nothing: taking the write lock fails where a file
    may only be read."""
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await database.read(do_nothing)
            await database.write(do_nothing)
    except Exception as error:
        log.warning("database_not_usable", exc_info=error)
        return False
    return True


def do_nothing(connection: Connection) -> None:
    """A transaction that does nothing."""
    connection.execute(text("SELECT 1"))
