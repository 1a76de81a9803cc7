"""SQL databases behind one small port: a function over a SQLAlchemy connection, run in one transaction.

A service's statements are plain functions `(connection, …) -> result`. How they are run is the engine's
business: SQLite runs them in threads that own their connections, so that a transaction costs one change of
thread and not one a statement.
"""

from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from sqlalchemy import Connection

P = ParamSpec("P")
T = TypeVar("T")
Work = Callable[Concatenate[Connection, P], T]


class Database(Protocol):
    """One SQL database of one service."""

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


class BusyError(Exception):
    """Another process holds the write lock."""
