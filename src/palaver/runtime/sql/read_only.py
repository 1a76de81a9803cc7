"""SQLite databases that belong to a service, read beside it or while it does not run.

Nothing is written, no lock is held that a writer waits for, and no file is left behind.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from palaver.runtime.startup import StartError

BUSY_SECONDS = 2.0


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection within one read-only transaction. Raises `StartError` where the file cannot be read."""
    if not path.is_file():
        raise StartError(f"there is no database {path}")
    try:
        with contextlib.closing(sqlite3.connect(address(path), uri=True, timeout=BUSY_SECONDS)) as connection:
            connection.isolation_level = None
            connection.execute("BEGIN")
            yield connection
    except sqlite3.Error as error:
        raise StartError(f"cannot read database {path}: {error}") from None


def address(path: Path) -> str:
    """The URI to open it by. Without a write-ahead log nobody writes: then SQLite is told to make none, which
    it would, and leave there, even for a reader."""
    is_written = Path(f"{path}-wal").exists()
    return f"{path.absolute().as_uri()}?{'mode=ro' if is_written else 'immutable=1'}"
