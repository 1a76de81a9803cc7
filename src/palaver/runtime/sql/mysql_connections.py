"""A bounded number of connections to a MySQL server, and transactions on them that are repeated where that
is right."""

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine
from typing import Any, Literal, TypeVar

from sqlalchemy import Connection, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from palaver.runtime.backoff import pause_after
from palaver.runtime.fair_turns import FairTurns, lane_of_task
from palaver.runtime.requester import SERVICE, requester
from palaver.runtime.sql.database import DatabaseUnavailableError
from palaver.runtime.sql.mysql_errors import is_broken, is_lost, is_repeatable, mysql_name
from palaver.runtime.sql.url import MysqlAddress
from palaver.runtime.telemetry.configuration import log

T = TypeVar("T")

Kind = Literal["read", "write", "migrate"]

CONNECT_SECONDS = 5
CLOSE_SECONDS = 2.0
# The longest transaction; a server that is frozen answers nothing. An index over many rows takes hours
TRANSACTION_SECONDS: dict[Kind, float] = {"read": 30.0, "write": 15.0, "migrate": 86_400.0}
# A failed transaction is begun again for so long
REPEAT_SECONDS: dict[Kind, float] = {"read": 3.0, "write": 10.0, "migrate": 0.0}
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.02, 0.5
# Much less than the longest transaction
LOCK_SECONDS = 2
# A process that is paused within a transaction keeps others from its chats until the server closes its
# connection
IDLE_SECONDS: dict[Kind, int] = {"read": 600, "write": 10, "migrate": 600}
# One state for all statements of a read; for writes the newest one, and no locks between rows
ISOLATION: dict[Kind, str] = {
    "read": "REPEATABLE READ, READ ONLY",
    "write": "READ COMMITTED, READ WRITE",
    "migrate": "READ COMMITTED, READ WRITE",
}
# Whatever the server's own settings are
SESSION = (
    "sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,ERROR_FOR_DIVISION_BY_ZERO', "
    "time_zone = '+00:00', character_set_client = 'utf8mb4', character_set_results = 'utf8mb4', "
    "collation_connection = 'utf8mb4_bin', foreign_key_checks = 1, unique_checks = 1, sql_safe_updates = 0, "
    f"innodb_lock_wait_timeout = {LOCK_SECONDS}"
)
HIDDEN_ERROR = "palaver_hidden_error"


class MysqlConnections:
    """Up to `slots` connections, each used by one transaction at a time, and given out in rounds, one
    transaction of each requester (see `runtime.requester`).

    A connection whose user was cancelled, or whose state is not known, is closed.
    """

    def __init__(self, address: MysqlAddress, kind: Kind, slots: int) -> None:
        self._kind = kind
        self._slots = slots
        self._engine = mysql_engine(address, kind)
        self._turns = FairTurns(slots)
        # With the loop's time at which they came back
        self._idle: list[tuple[AsyncConnection, float]] = []
        self._closing: set[asyncio.Task[None]] = set()
        self._is_closed = False

    @property
    def wanted(self) -> int:
        """How many transactions run or wait."""
        return self._turns.wanted

    async def transact(self, work: Callable[..., T], args: Any, kwargs: Any) -> T:
        """What `work` returns, after its transaction is committed. It is called again where the transaction
        may succeed then. Raises `DatabaseUnavailableError`, and whatever `work` raises."""
        async with self._turns.turn(requester(), lane_of_task()):
            return await self._repeat(work, args, kwargs)

    async def close(self) -> None:
        """Waits for what runs, then closes all connections."""
        await self._turns.given()
        for _ in range(self._slots):
            await self._turns.take(SERVICE)
        self._is_closed = True
        idle, self._idle = self._idle, []
        for connection, _ in idle:
            try:
                async with asyncio.timeout(CLOSE_SECONDS):
                    await connection.close()
            except Exception:
                self._drop(connection)
        await asyncio.gather(*self._closing, return_exceptions=True)
        await self._engine.dispose()
        for _ in range(self._slots):
            self._turns.release()

    async def _repeat(self, work: Callable[..., T], args: Any, kwargs: Any) -> T:
        loop = asyncio.get_running_loop()
        until = loop.time() + REPEAT_SECONDS[self._kind]
        failures = 0
        while True:
            try:
                return await self._attempt(work, args, kwargs)
            except Exception as error:
                if is_broken(error):
                    raise DatabaseUnavailableError(mysql_name(error)) from error
                if not (is_lost(error) or is_repeatable(error)):
                    raise
                failures += 1
                pause = pause_after(
                    failures,
                    first=FIRST_PAUSE_SECONDS,
                    longest=LONGEST_PAUSE_SECONDS,
                    jitter=random.random(),  # noqa: S311 - no secret
                )
                if loop.time() + pause > until:
                    raise DatabaseUnavailableError(mysql_name(error)) from error
                log.info("transaction_repeated", work=work.__name__, cause=mysql_name(error))
            await asyncio.sleep(pause)

    async def _attempt(self, work: Callable[..., T], args: Any, kwargs: Any) -> T:
        connection = await self._take()
        is_clean = False
        try:
            # One time limit a transaction: the driver's, one an answer, costs a task each
            async with asyncio.timeout(TRANSACTION_SECONDS[self._kind]):
                result = await connection.run_sync(run_transaction, work, args, kwargs)
            is_clean = True
        except Exception as error:
            if is_lost(error):
                # The server was restarted, or has closed what was idle: the others are gone as well
                self._drop_idle()
            else:
                # All of it, whatever the server has undone by itself: of a lock's timeout only a statement
                is_clean = await is_rolled_back(connection)
            raise
        finally:
            # Not so after a cancellation: an answer may be on its way, which the next user would take for its
            # own
            if is_clean:
                self._idle.append((connection, asyncio.get_running_loop().time()))
            else:
                self._drop(connection)
        return result

    async def _take(self) -> AsyncConnection:
        if self._is_closed:
            raise DatabaseUnavailableError("closed")
        oldest = asyncio.get_running_loop().time() - IDLE_SECONDS[self._kind] / 2
        while self._idle:
            connection, since = self._idle.pop()
            if since > oldest:
                return connection
            # The server closes it, or has done so
            self._drop(connection)
        async with asyncio.timeout(CONNECT_SECONDS):
            return await self._engine.connect()

    def _drop_idle(self) -> None:
        idle, self._idle = self._idle, []
        for connection, _ in idle:
            self._drop(connection)

    def _drop(self, connection: AsyncConnection) -> None:
        """Closes a connection, without asking the server, which may not answer."""
        self._spawn(self._close(connection))

    async def _close(self, connection: AsyncConnection) -> None:
        with contextlib.suppress(Exception):
            raw = await connection.get_raw_connection()
            driver: Any = raw.driver_connection
            driver.close()
        with contextlib.suppress(Exception):
            await connection.invalidate()
        with contextlib.suppress(Exception):
            await connection.close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def run_transaction(connection: Connection, work: Callable[..., T], args: Any, kwargs: Any) -> T:
    """What `work` returns, after the commit. The caller rolls back where this raises."""
    transaction = connection.begin()
    connection.info.pop(HIDDEN_ERROR, None)
    result = work(connection, *args, **kwargs)
    hidden = connection.info.pop(HIDDEN_ERROR, None)
    if hidden is not None:
        raise hidden
    transaction.commit()
    return result


async def is_rolled_back(connection: AsyncConnection) -> bool:
    """Rolls back. False: that failed, and what the server has of the transaction is not known."""
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await connection.rollback()
    except Exception as error:
        log.info("not_rolled_back", cause=mysql_name(error))
        return False
    return True


def mysql_engine(address: MysqlAddress, kind: Kind) -> AsyncEngine:
    """An engine whose connections have the settings that the statements rely on."""
    engine = create_async_engine(
        address.url,
        poolclass=NullPool,
        # An error's text reaches logs; the parameters of its statement may be a password's hash or a message
        hide_parameters=True,
        connect_args={
            "charset": "utf8mb4",
            "connect_timeout": CONNECT_SECONDS,
        },
    )

    @event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        for statement in (
            f"SET SESSION TRANSACTION ISOLATION LEVEL {ISOLATION[kind]}",
            f"SET SESSION wait_timeout = {IDLE_SECONDS[kind]}, {SESSION}",
            "COMMIT",
        ):
            cursor.execute(statement)
        cursor.close()

    @event.listens_for(engine.sync_engine, "handle_error")
    def note(context: ExceptionContext) -> None:
        # After some errors the server has undone the transaction, and work that goes on behind one would
        # commit its second half alone
        error = context.original_exception
        if context.connection is not None and (is_repeatable(error) or is_lost(error)):
            context.connection.info[HIDDEN_ERROR] = error

    return engine
