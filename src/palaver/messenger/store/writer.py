"""Writers: who commits, one transaction after the other, so that the numbers in the commit log are the order
of the commits."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from palaver.messenger.events import Event, Position
from palaver.messenger.store.commit_log import commit_change
from palaver.runtime.sql.database import Database

T = TypeVar("T")


class Writer(Protocol):
    """Commits changes that are not the journal's: edits, chats, members."""

    async def commit(
        self, change: Callable[..., tuple[T, list[Event]]], args: Any, kwargs: Any
    ) -> tuple[T, list[Event], Position | None]:
        """What a change returns, what it touched, and its position in the commit log, where it touched
        anything. Raises what the change and the database raise."""
        ...

    async def close(self) -> None:
        """Waits for what runs, and lets others have the writer's numbers."""
        ...


class SqliteWriter:
    """The one writer of an SQLite file."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def commit(
        self, change: Callable[..., tuple[T, list[Event]]], args: Any, kwargs: Any
    ) -> tuple[T, list[Event], Position | None]:
        """See `Writer.commit`."""
        return await self._database.write(commit_change, change, args, kwargs)

    async def close(self) -> None:
        """See `Writer.close`."""
