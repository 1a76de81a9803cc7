"""Opening the messenger's store: its database, and what reads and writes it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from palaver.messenger.store.journal import Journal
from palaver.messenger.store.journal_sqlite import SqliteJournal
from palaver.messenger.store.messages import MessageReader, SqlMessageReader
from palaver.messenger.store.writer import SqliteWriter, Writer
from palaver.runtime.settings.messenger import MessengerSettings
from palaver.runtime.sql.database import Database
from palaver.runtime.sql.sqlite import SqliteDatabase
from palaver.runtime.sql.url import MysqlAddress

# Transactions at once that are no writer's: those that trim the log
OTHER_WRITES = 2


@dataclass(frozen=True, slots=True)
class Store:
    """Everything that the messenger keeps. `database` runs the statements of `store/`; `journals`: one a
    writer, each for some of the chats; `writer` commits what is no message."""

    database: Database
    journals: Sequence[Journal]
    writer: Writer
    messages: MessageReader

    async def close(self) -> None:
        """Waits for what runs, then closes all connections."""
        await self.writer.close()
        await self.database.close()


def open_store(location: Path | MysqlAddress, settings: MessengerSettings) -> Store:
    """The store in an SQLite file or in a schema of a MySQL server; both have the newest tables. Raises
    `OSError`."""
    if isinstance(location, Path):
        return open_file(location)
    return open_schema(location, settings.writers, settings.database_connections)


def open_file(file: Path) -> Store:
    """The store in an SQLite file, which has one writer. Raises `OSError`."""
    database = SqliteDatabase(file)
    writer = SqliteWriter(database)
    return Store(database, [SqliteJournal(database)], writer, SqlMessageReader(database))


def open_schema(address: MysqlAddress, writers: int, connections: int) -> Store:
    """The store in a schema of a MySQL server."""
    # Here: MySQL's driver takes a tenth of a second, which starts on files need not pay
    from palaver.messenger.store.journal_mysql import MysqlJournal
    from palaver.messenger.store.writer_mysql import MysqlWriter, MysqlWriters
    from palaver.runtime.sql.mysql import MysqlDatabase

    database = MysqlDatabase(address, readers=connections - OTHER_WRITES, writers=OTHER_WRITES)
    own = [MysqlWriter(address) for _ in range(writers)]
    journals = [MysqlJournal(writer) for writer in own]
    return Store(database, journals, MysqlWriters(own), SqlMessageReader(database))
