"""Opening the messenger's store: its database, and what reads and writes it."""

from dataclasses import dataclass
from pathlib import Path

from palaver.messenger.store.journal import Journal
from palaver.messenger.store.journal_sqlite import SqliteJournal
from palaver.messenger.store.messages import MessageReader, SqlMessageReader
from palaver.runtime.sql.database import Database
from palaver.runtime.sql.sqlite import SqliteDatabase


@dataclass(frozen=True, slots=True)
class Store:
    """Everything that the messenger keeps. `database` runs the statements of `store/`."""

    database: Database
    journal: Journal
    messages: MessageReader

    async def close(self) -> None:
        """Waits for what runs, then closes all connections."""
        await self.database.close()


def open_store(file: Path) -> Store:
    """The store in an SQLite file that has the newest schema. Raises `OSError`."""
    database = SqliteDatabase(file)
    return Store(database, SqliteJournal(database), SqlMessageReader(database))
