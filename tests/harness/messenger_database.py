"""A database file of the messenger's, with chats to make and histories to read.

Chats are made by the statements that the messenger itself makes them with.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from palaver.contracts.ids import new_id
from palaver.messenger.domain import Message
from palaver.messenger.store.chats import create_group, open_direct_chat
from palaver.messenger.store.schema import messages, metadata
from palaver.runtime.sql.sqlite import sqlite_engine
from tests.harness.keys import Keys


class MessengerDatabase:
    """A database file with the messenger's tables, and keys that its users' tokens are signed with."""

    def __init__(self, directory: Path, keys: Keys | None = None) -> None:
        self.file = directory / "messenger.db"
        self.keys = keys or Keys()
        engine = sqlite_engine(self.file)
        with engine.begin() as connection:
            metadata.create_all(connection)
        engine.dispose()
        self._engine = sqlite_engine(self.file)

    def close(self) -> None:
        """Closes its own connections."""
        self._engine.dispose()

    def write(self, work: Callable[..., Any], *args: Any) -> Any:
        """What `work(connection, …)` returns, in a transaction of its own."""
        with self._engine.connect() as connection, connection.begin():
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            return work(connection, *args)

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
