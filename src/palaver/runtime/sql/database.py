"""SQL databases behind one small port: a function over a SQLAlchemy connection, run in one transaction.

A service's statements are plain functions `(connection, …) -> result`. How they are run is the engine's
business: SQLite runs them in threads that own their connections, so that a transaction costs one change of
thread and not one a statement.
"""

from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from sqlalchemy import Connection

from palaver.contracts.errors import UNAVAILABLE, PalaverError

P = ParamSpec("P")
T = TypeVar("T")

RETRY_SECONDS = 1.0
Work = Callable[Concatenate[Connection, P], T]


class Database(Protocol):
    """One SQL database of one service.

    Where its file or its disk cannot be used now, reads and writes raise `DatabaseUnavailableError`.
    `is_failing`: the last write failed so.
    """

    is_failing: bool

    async def read(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `work` returns, in one read-only transaction: all its statements see one state."""
        ...

    async def read_short(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The same as `read`, for work that looks a bounded number of rows up by their keys."""
        ...

    async def write(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `work` returns, after its transaction is on disk. An exception rolls all of it back."""
        ...

    async def write_short(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The same as `write`, for work of a few rows."""
        ...

    async def close(self) -> None:
        """Waits for what runs, then closes all connections."""
        ...


class DatabaseUnavailableError(PalaverError):
    """The database cannot be used now: its disk is full or fails, or somebody else holds it. Nothing of the
    transaction is known to be on disk. `name`: the engine's name of the error, for logs."""

    def __init__(self, name: str) -> None:
        super().__init__(UNAVAILABLE, retry_after=RETRY_SECONDS, database=name)


class BusyError(Exception):
    """Another process holds the write lock."""
