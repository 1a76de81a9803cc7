"""Keeps the file of SQLite's write-ahead log small.

A long reader, such as a backup, keeps SQLite from using the log again from its beginning, and it grows with
each commit. Afterwards SQLite leaves the file as long as it was.
"""

import asyncio
import contextlib
import sqlite3
from pathlib import Path

from palaver.runtime.sql.database_file import log_of
from palaver.runtime.sql.sqlite import LOG_BYTES
from palaver.runtime.telemetry.configuration import log

LOOK_SECONDS = 5.0


async def keep_log_small(database: Path) -> None:
    """Makes the log's file shorter when it has grown and no reader is in the way. Runs until cancelled."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            if log_of(database).stat().st_size > LOG_BYTES:
                await asyncio.to_thread(shrink_log, database)
        except (OSError, sqlite3.Error) as error:
            log.warning("log_not_shrunk", database=database.name, cause=type(error).__name__)


def shrink_log(database: Path) -> bool:
    """Copies the log into the database, and empties its file. False: readers or a writer are in the way."""
    # Waits for nobody: writers would wait behind it
    with contextlib.closing(sqlite3.connect(database, timeout=0, isolation_level=None)) as connection:
        # First what takes long, and holds up no writer
        _, pages, copied = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if copied < pages:
            return False
        (is_busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not is_busy
