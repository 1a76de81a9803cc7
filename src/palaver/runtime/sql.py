"""SQL databases behind one small port: a function over a SQLAlchemy connection, run in one transaction.

A service's statements are plain functions `(connection, …) -> result`. How they are run is the engine's
business: SQLite runs them in threads that own their connections, so that a transaction costs one change of
thread and not one a statement.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import local
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.pool import NullPool

P = ParamSpec("P")
T = TypeVar("T")
Work = Callable[Concatenate[Connection, P], T]

BUSY_SECONDS = 30.0
# Pages of the write-ahead log after which it is copied into the database (4 KiB each).
CHECKPOINT_PAGES = 4_000


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

    async def close(self) -> None:
        """Waits for what runs, then closes all connections."""
        ...


class SqliteDatabase:
    """SQLite in WAL mode with `synchronous=FULL`: a commit returns after its fsync. One writer thread."""

    def __init__(self, path: Path, readers: int = 2) -> None:
        self._engine = sqlite_engine(path)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="sql-write")
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="sql-read")
        self._own = local()
        self._opened: list[Connection] = []

    async def read(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """See `Database.read`."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, self._run, False, work, args, kwargs)

    async def read_short(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """See `Database.read_short`. Runs on the event loop: a page of history takes SQLite 0.08 ms, and a
        change of threads and back costs more than that. In WAL mode a reader waits for nobody."""
        return self._run(False, work, args, kwargs)

    async def write(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """See `Database.write`."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._writer, self._run, True, work, args, kwargs)

    async def close(self) -> None:
        """See `Database.close`."""
        loop = asyncio.get_running_loop()
        for pool in (self._writer, self._readers):
            await loop.run_in_executor(None, pool.shutdown)
        for connection in self._opened:
            connection.close()
        self._engine.dispose()

    def _run(self, writes: bool, work: Callable[..., T], args: Any, kwargs: Any) -> T:
        connection: Connection | None = getattr(self._own, "connection", None)
        if connection is None:
            connection = self._own.connection = self._engine.connect()
            self._opened.append(connection)
            if not writes:
                # A statement that changes something must not slip past the one writer
                connection.exec_driver_sql("PRAGMA query_only=ON")
                connection.rollback()
        with connection.begin():
            # The driver's own transaction control is off (see below): SQLAlchemy's begin() says nothing yet
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
            return work(connection, *args, **kwargs)


def sqlite_engine(path: Path) -> Engine:
    """An engine whose connections are durable, may be used from any thread, and leave BEGIN to the caller.

    Makes the file, readable by its owner alone, where there is none. Raises `OSError` where that fails.
    """
    make_private(path)
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        poolclass=NullPool,
        # An error's text reaches logs; the parameters of its statement may be a password's hash or a message
        hide_parameters=True,
        connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False, "cached_statements": 512},
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: Any) -> None:
        # pysqlite begins transactions late and by itself, which would break "one state" and BEGIN IMMEDIATE
        connection.isolation_level = None
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            f"wal_autocheckpoint={CHECKPOINT_PAGES}",
            "cache_size=-65536",
            "temp_store=MEMORY",
        ):
            connection.execute(f"PRAGMA {pragma}").close()

    return engine


def make_private(path: Path) -> None:
    """Makes the file with mode 0600, and its directory, where it makes that too, with 0700.

    SQLite gives the mode of the database to the files that it keeps beside it.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(handle).st_mode & 0o077:
            os.fchmod(handle, 0o600)
    finally:
        os.close(handle)
