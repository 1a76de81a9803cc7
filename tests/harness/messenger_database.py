"""A database of the messenger's, in a file or in a schema of MariaDB's, with chats to make and histories to
read.

Chats are made by the statements that the messenger itself makes them with.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, select
from sqlalchemy.pool import NullPool

from palaver.contracts.ids import new_id
from palaver.messenger.domain import Message
from palaver.messenger.store.chats import create_group, open_direct_chat
from palaver.messenger.store.opening import Store, open_store
from palaver.messenger.store.schema import messages, metadata
from palaver.runtime.settings.messenger import MessengerSettings
from palaver.runtime.sql.database import Database
from palaver.runtime.sql.locations import Location
from palaver.runtime.sql.mysql import MysqlDatabase
from palaver.runtime.sql.mysql_connections import ISOLATION, SESSION
from palaver.runtime.sql.sqlite import SqliteDatabase, sqlite_engine
from tests.harness.keys import Keys
from tests.harness.mariadb import MariadbSchema


class MessengerDatabase:
    """A database with the messenger's tables, and keys that its users' tokens are signed with. `place`: a
    directory for a new file, or a schema that has the tables."""

    def __init__(self, place: Path | MariadbSchema, keys: Keys | None = None) -> None:
        self.keys = keys or Keys()
        self.schema = place if isinstance(place, MariadbSchema) else None
        if isinstance(place, MariadbSchema):
            self.location: Location = place.address
            self._engine = observer_engine(place)
        else:
            self.location = place / "messenger.db"
            engine = sqlite_engine(self.location)
            with engine.begin() as connection:
                metadata.create_all(connection)
            engine.dispose()
            self._engine = sqlite_engine(self.location)

    @property
    def file(self) -> Path:
        """Where it is, on SQLite."""
        assert isinstance(self.location, Path)
        return self.location

    def open_database(self) -> Database:
        """Connections to it, as another process would have."""
        if isinstance(self.location, Path):
            return SqliteDatabase(self.location)
        return MysqlDatabase(self.location)

    def open_store(self, **settings: Any) -> Store:
        """A messenger's store on it, as another process would open it."""
        return open_store(self.location, MessengerSettings(**settings))

    def close(self) -> None:
        """Closes its own connections."""
        self._engine.dispose()

    def write(self, work: Callable[..., Any], *args: Any) -> Any:
        """What `work(connection, …)` returns, in a transaction of its own."""
        with self.transaction() as connection:
            return work(connection, *args)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A connection within a transaction, during the block."""
        with self._engine.connect() as connection, connection.begin():
            if self.schema is None:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection

    def direct(self, one: bytes, other: bytes) -> bytes:
        """The direct chat of two users."""
        chat_id: bytes = self.write(open_direct_chat, one, other, 1)[0].id
        return chat_id

    def group(self, users: Sequence[bytes]) -> bytes:
        """A new group, made by the first of the users."""
        chat_id = new_id()
        self.write(create_group, chat_id, users[0], "a group", users[1:], 1)
        return chat_id

    def history(self, chat_id: bytes) -> list[Message]:
        """All messages of a chat, as the journal has them."""
        return self.write(read_history, chat_id)  # type: ignore[no-any-return]


def read_history(connection: Connection, chat_id: bytes) -> list[Message]:
    """All messages of a chat by seq."""
    query = (
        select(*(messages.c[name] for name in Message._fields))
        .where(messages.c.chat_id == chat_id)
        .order_by(messages.c.seq)
    )
    return [
        Message(**{**row, "edited_at": row["edited_at"] or 0, "deleted_at": row["deleted_at"] or 0})
        for row in connection.execute(query).mappings()
    ]


def observer_engine(schema: MariadbSchema) -> Engine:
    """A synchronous engine on a schema, by another driver than the services', with their settings."""
    engine = create_engine(
        schema.address.url.set(drivername="mysql+pymysql"),
        poolclass=NullPool,
        # As the services' driver takes them: compiled queries are kept by dialect
        paramstyle="format",
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET SESSION TRANSACTION ISOLATION LEVEL {ISOLATION['write']}")
            cursor.execute(f"SET SESSION {SESSION}")

    return engine
