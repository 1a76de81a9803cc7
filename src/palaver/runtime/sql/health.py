"""Whether a database can be used now."""

import asyncio
import os
from pathlib import Path

from sqlalchemy import Connection, text

from palaver.runtime.sql.database import Database
from palaver.runtime.telemetry.configuration import log
from palaver.runtime.telemetry.error_texts import error_text

# Shorter than supervisors and load balancers wait for `/readyz`
CHECK_SECONDS = 1.0


# Below it the next large transaction may fail
LEAST_FREE_BYTES = 1_048_576


async def is_usable(database: Database) -> bool:
    """Whether the database can be read and written. Taking the write lock fails where a file may only be
    read; something is written only where the last write failed, because a disk that is full shows it at
    nothing less."""
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await database.read(do_nothing)
            await database.write(touch if database.is_failing else do_nothing)
    except Exception as error:
        log.warning("database_not_usable", cause=type(error).__name__, debug=getattr(error, "debug", {}))
        return False
    return True


async def has_free_space(file: Path) -> bool:
    """Whether the file's disk has room for transactions. One that is gone has none."""
    try:
        found = await asyncio.to_thread(os.statvfs, file.parent)
    except OSError as error:
        log.warning("disk_not_found", cause=error_text(error))
        return False
    return found.f_bavail * found.f_frsize >= LEAST_FREE_BYTES


def do_nothing(connection: Connection) -> None:
    """A transaction that does nothing."""
    connection.execute(text("SELECT 1"))


def touch(connection: Connection) -> None:
    """A transaction that writes, and changes nothing."""
    if connection.dialect.name == "mysql":
        # Refused where the server is read-only
        connection.execute(text("UPDATE alembic_version SET version_num = version_num"))
        return
    version = connection.execute(text("PRAGMA user_version")).scalar()
    connection.execute(text(f"PRAGMA user_version = {version}"))
