"""SQLite behind the port `Database`."""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from threading import local
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from palaver.runtime.fair_turns import FairTurns, lane_of_task, run_in_turn
from palaver.runtime.sql.database import BusyError, P, T, Work
from palaver.runtime.sql.database_file import make_private
from palaver.runtime.sql.errors import raise_unavailable, sqlite_error, sqlite_name
from palaver.runtime.telemetry.configuration import log
from palaver.runtime.telemetry.spans import Attributes
from palaver.runtime.telemetry.tracing import current_span, tracer

BUSY_SECONDS = 30.0
# Pages of the write-ahead log after which it is copied into the database (4 KiB each).
CHECKPOINT_PAGES = 4_000
# What is left of its file when it has grown further than that, behind a long reader
LOG_BYTES = 2 * CHECKPOINT_PAGES * 4_096
# A short write that took longer shows a busy disk: the next ones leave the event loop alone.
SLOW_SECONDS = 0.005
SLOW_PAUSE_SECONDS = 1.0
# A reader of longer keeps the write-ahead log from being used again, and the log grows
READ_SECONDS = 30.0
# Steps of SQLite's virtual machine between two looks at the time, some tens of milliseconds
STEPS = 1_000_000
# A longer wait for the write lock is logged: all users wait with it.
LONG_LOCK_SECONDS = 0.5

_UNTRACED = nullcontext()


class SqliteDatabase:
    """SQLite in WAL mode with `synchronous=FULL`: a commit returns after its fsync. One writer thread.

    Threads take what waits in rounds, one transaction of each requester (see `runtime.requester`).
    """

    def __init__(self, path: Path, readers: int = 2) -> None:
        self._engine = sqlite_engine(path)
        self._name = path.name
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="sql-write")
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="sql-read")
        self._own = local()
        self._opened: list[Connection] = []
        self._for_writing: Connection | None = None
        self._wait_seconds = BUSY_SECONDS
        self._reading_turns, self._writing_turns = FairTurns(readers), FairTurns(1)
        self._slow_until = 0.0
        self.is_failing = False

    async def read(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """See `Database.read`."""
        with self._span(work, "read"):
            return await run_in_turn(
                self._reading_turns, lane_of_task(), self._readers, self._read, work, args, kwargs
            )

    async def read_short(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """See `Database.read_short`. Runs on the event loop: a page of history takes SQLite 0.08 ms, and a
        change of threads and back costs more than that. In WAL mode a reader waits for nobody."""
        with self._span(work, "read"):
            return self._read(work, args, kwargs)

    async def write(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """See `Database.write`."""
        with self._span(work, "write"):
            return await run_in_turn(
                self._writing_turns,
                lane_of_task(),
                self._writer,
                self._write_waiting,
                work,
                args,
                kwargs,
            )

    async def write_short(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """See `Database.write_short`. Runs on the event loop while nobody else writes and the disk is fast: a
        change of threads and back would take a third of the time of such a transaction."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        if began < self._slow_until or not self._writing_turns.is_free:
            return await self.write(work, *args, **kwargs)
        try:
            with self._span(work, "write"):
                return self._write(work, args, kwargs, 0.0)
        except BusyError:
            # Another process writes: waiting for it is not for the event loop
            pass
        finally:
            if loop.time() - began > SLOW_SECONDS:
                self._slow_until = loop.time() + SLOW_PAUSE_SECONDS
        return await self.write(work, *args, **kwargs)

    async def close(self) -> None:
        """See `Database.close`."""
        loop = asyncio.get_running_loop()
        for turns, pool in ((self._writing_turns, self._writer), (self._reading_turns, self._readers)):
            await turns.given()
            await loop.run_in_executor(None, pool.shutdown)
        for connection in self._opened:
            connection.close()
        self._engine.dispose()

    def _span(self, work: Callable[..., object], operation: str) -> AbstractContextManager[object]:
        """Of one transaction, with its wait for a thread, if it is part of a request that is traced."""
        above = current_span()
        if above is None or not above.trace_id:
            return _UNTRACED
        attributes: Attributes = {
            "db.system.name": "sqlite",
            "db.namespace": self._name,
            "db.operation.name": operation,
        }
        return tracer.span(work.__name__, "client", attributes)

    def _read(self, work: Callable[..., T], args: Any, kwargs: Any) -> T:
        try:
            connection: Connection | None = getattr(self._own, "connection", None)
            if connection is None:
                connection = self._own.connection = self._connect_reader()
            self._own.until = time.monotonic() + READ_SECONDS
            begin(connection, "BEGIN")
            try:
                return work(connection, *args, **kwargs)
            finally:
                end_reading(connection)
        except (sqlite3.Error, DBAPIError, BusyError) as error:
            # Whoever writes where he may only read has made a mistake
            if sqlite_name(error) != "SQLITE_READONLY":
                raise_unavailable(error)
            raise

    def _connect_reader(self) -> Connection:
        connection = self._connect()
        # A statement that changes something must not slip past the one writer
        connection.exec_driver_sql("PRAGMA query_only=ON")
        connection.rollback()
        driver_connection(connection).set_progress_handler(self._is_overdue, STEPS)
        return connection

    def _is_overdue(self) -> bool:
        """SQLite ends the statement of this thread where it is."""
        return time.monotonic() > float(self._own.until)

    def _write_waiting(self, work: Callable[..., T], args: Any, kwargs: Any) -> T:
        try:
            return self._write(work, args, kwargs, BUSY_SECONDS)
        except BusyError as error:
            raise_unavailable(error)
            raise

    def _write(self, work: Callable[..., T], args: Any, kwargs: Any, wait_seconds: float) -> T:
        """Raises `BusyError` too."""
        try:
            found = self._write_once(work, args, kwargs, wait_seconds)
        except (sqlite3.Error, DBAPIError) as error:
            self.is_failing = self.is_failing or sqlite_error(error) is not None
            raise_unavailable(error)
            raise
        self.is_failing = False
        return found

    def _write_once(self, work: Callable[..., T], args: Any, kwargs: Any, wait_seconds: float) -> T:
        """One connection writes, in turn from the writer's thread and from the event loop's."""
        connection = self._for_writing
        if connection is None:
            connection = self._for_writing = self._connect()
        if wait_seconds != self._wait_seconds:
            connection.exec_driver_sql(f"PRAGMA busy_timeout={int(wait_seconds * 1000)}")
            connection.rollback()
            self._wait_seconds = wait_seconds
        with connection.begin():
            began = time.monotonic()
            begin(connection, "BEGIN IMMEDIATE")
            waited = time.monotonic() - began
            if waited >= LONG_LOCK_SECONDS:
                # Another process held it: a shell, or a backup that copies within a transaction
                log.warning("write_lock_waited_for", database=self._name, seconds=round(waited, 3))
            return work(connection, *args, **kwargs)

    def _connect(self) -> Connection:
        connection = self._engine.connect()
        self._opened.append(connection)
        return connection


def begin(connection: Connection, how: str) -> None:
    """Begins a transaction, on the driver's own connection: SQLAlchemy would take longer than SQLite.

    Raises `BusyError` where another process has the write lock for longer than the busy timeout.
    """
    try:
        driver_connection(connection).execute(how)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
            raise BusyError from error
        raise


def end_reading(connection: Connection) -> None:
    """Ends a transaction that has written nothing. Like `begin`, past SQLAlchemy, whose own way takes as long
    as a look-up by key; but where it has run statements itself it has to know."""
    if connection.in_transaction():
        connection.rollback()
    else:
        driver_connection(connection).rollback()


def driver_connection(connection: Connection) -> sqlite3.Connection:
    """SQLite's own."""
    raw: sqlite3.Connection = connection.connection.driver_connection  # type: ignore[assignment] # it is SQLite's
    return raw


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
            # By itself SQLite never makes the log's file shorter
            f"journal_size_limit={LOG_BYTES}",
            "cache_size=-65536",
            "temp_store=MEMORY",
        ):
            connection.execute(f"PRAGMA {pragma}").close()

    return engine
