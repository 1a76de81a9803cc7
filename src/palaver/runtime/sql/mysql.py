"""MySQL, or what speaks its protocol, behind the port `Database`: without threads, on the event loop."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from sqlalchemy import Connection, text

from palaver.runtime.sql.database import DatabaseUnavailableError, P, T, Work
from palaver.runtime.sql.mysql_connections import Kind, MysqlConnections
from palaver.runtime.sql.mysql_errors import mysql_number
from palaver.runtime.sql.url import MysqlAddress
from palaver.runtime.startup import StartError
from palaver.runtime.telemetry.spans import Attributes
from palaver.runtime.telemetry.tracing import current_span, tracer

# A statement is shorter: what servers take at least (`max_allowed_packet`)
STATEMENT_BYTES = 4 * 1024 * 1024

_UNTRACED = nullcontext()


class MysqlDatabase:
    """A schema of a MySQL or MariaDB server. `readers` and `writers`: most connections for each.

    `work` is called again where the server has undone its transaction, or the connection was lost: whether
    the commit of a lost one is on disk is not known, so that work must bear being done twice.
    """

    def __init__(self, address: MysqlAddress, readers: int = 4, writers: int = 2) -> None:
        self._name = address.schema
        self._reading = MysqlConnections(address, "read", readers)
        self._writing = MysqlConnections(address, "write", writers)
        self.is_failing = False

    async def read(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """See `Database.read`."""
        with self._span(work, "read"):
            return await self._reading.transact(work, args, kwargs)

    async def read_short(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """See `Database.read_short`."""
        return await self.read(work, *args, **kwargs)

    async def write(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """See `Database.write`."""
        with self._span(work, "write"):
            try:
                found = await self._writing.transact(work, args, kwargs)
            except DatabaseUnavailableError:
                self.is_failing = True
                raise
        self.is_failing = False
        return found

    async def write_short(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """See `Database.write_short`."""
        return await self.write(work, *args, **kwargs)

    @property
    def wanted(self) -> int:
        """How many writes run or wait."""
        return self._writing.wanted

    async def close(self) -> None:
        """See `Database.close`."""
        await self._writing.close()
        await self._reading.close()

    def _span(self, work: Callable[..., object], operation: Kind) -> AbstractContextManager[object]:
        """Of one transaction, with its wait for a connection, if it is part of a request that is traced."""
        above = current_span()
        if above is None or not above.trace_id:
            return _UNTRACED
        attributes: Attributes = {
            "db.system.name": "mysql",
            "db.namespace": self._name,
            "db.operation.name": operation,
        }
        return tracer.span(work.__name__, "client", attributes)


def check_server(connection: Connection) -> None:
    """Raises `StartError` where the server's settings do not let it be used."""
    packet: Any = connection.execute(text("SELECT @@max_allowed_packet")).scalar()
    if int(packet) < STATEMENT_BYTES:
        raise StartError(
            f"the database server's max_allowed_packet is {int(packet):,} bytes: it must be at least "
            f"{STATEMENT_BYTES:,}"
        )


def cannot_be_used(address: MysqlAddress, error: Exception) -> StartError:
    """The line for a server that cannot be used at a start. The next start may find it better."""
    found = error.__cause__ or error
    number = mysql_number(found)
    reason = f"MYSQL_{number}" if number is not None else type(found).__name__
    parts: tuple[Any, ...] = getattr(getattr(found, "orig", found), "args", ())
    detail = f": {parts[1]}" if len(parts) > 1 else ""
    return StartError(f"database {address} cannot be used ({reason}{detail})", passes=True)
