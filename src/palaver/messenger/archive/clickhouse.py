"""ClickHouse behind the port `ArchiveNodes`, in a few threads: its driver blocks."""

import asyncio
import contextlib
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import local
from typing import Any, NamedTuple, TypeVar

from clickhouse_driver import Client
from clickhouse_driver.errors import Error, ErrorCodes, ServerException

from palaver.messenger.archive.circuit_breaker import CircuitBreaker
from palaver.messenger.archive.nodes import (
    Address,
    NodeAwayError,
    NodeError,
    NoSuchTableError,
    Rows,
    TooManyPartsError,
)
from palaver.runtime.fair_turns import FairTurns, run_in_turn
from palaver.runtime.telemetry.configuration import log
from palaver.runtime.telemetry.spans import Attributes
from palaver.runtime.telemetry.tracing import current_span, tracer

T = TypeVar("T")

CONNECT_SECONDS = 2.0
# How many places one statement may name is a matter of its length
SETTINGS = {"strings_as_bytes": True, "max_query_size": 4_194_304}
KINDS: dict[int, type[NodeError]] = {
    ErrorCodes.TOO_MANY_PARTS: TooManyPartsError,
    ErrorCodes.UNKNOWN_TABLE: NoSuchTableError,
    ErrorCodes.UNKNOWN_DATABASE: NoSuchTableError,
}


class Access(NamedTuple):
    """How all nodes are entered."""

    user: str
    password: str


class ClickHouseNodes:
    """Connections to ClickHouse, one to each node in each thread.

    Of several threads one node may hold all but one, so that others are reached while one does not answer.
    """

    def __init__(self, access: Access, threads: int, answer_seconds: float) -> None:
        self._access = access
        self._answer_seconds = answer_seconds
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="clickhouse")
        self._turns: dict[Address, FairTurns] = defaultdict(lambda: FairTurns(max(1, threads - 1)))
        self._breakers: dict[Address, CircuitBreaker] = defaultdict(CircuitBreaker)
        self._own = local()
        self._opened: list[Client] = []

    async def select(self, address: Address, statement: str) -> Rows:
        """See `ArchiveNodes.select`."""
        rows: Rows = await self._run(address, lambda client: client.execute(statement), "select")
        return rows

    async def insert(self, address: Address, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """See `ArchiveNodes.insert`."""
        await self._run(address, lambda client: client.execute(statement, rows), "insert")

    async def define(self, address: Address, statement: str) -> None:
        """See `ArchiveNodes.define`."""
        await self._run(address, lambda client: client.execute(statement), "define")

    async def close(self) -> None:
        """See `ArchiveNodes.close`."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for client in self._opened:
            # Whoever waits for a node that does not answer learns so at once; others have no connection now
            with contextlib.suppress(OSError, AttributeError):
                client.connection.socket.shutdown(socket.SHUT_RDWR)
        await asyncio.to_thread(self._pool.shutdown)
        for client in self._opened:
            client.disconnect()

    def is_away(self, address: Address) -> bool:
        """Whether the last statement on a node failed for its sake."""
        return address in self._breakers and not self._breakers[address].is_closed

    async def _run(self, address: Address, work: Callable[[Client], T], operation: str) -> T:
        above = current_span()
        if above is None or not above.trace_id:
            return await self._run_in_thread(address, work)
        attributes: Attributes = {
            "db.system.name": "clickhouse",
            "db.operation.name": operation,
            "server.address": address.host,
            "server.port": address.port,
        }
        with tracer.span(f"archive_{operation}", "client", attributes):
            return await self._run_in_thread(address, work)

    async def _run_in_thread(self, address: Address, work: Callable[[Client], T]) -> T:
        return await run_in_turn(self._turns[address], "", self._pool, self._work, address, work)

    def _work(self, address: Address, work: Callable[[Client], T]) -> T:
        """In a thread: whoever has waited for it learns here that the node went away meanwhile."""
        breaker = self._breakers[address]
        if not breaker.admits(time.monotonic()):
            raise NodeAwayError(f"{address} has not answered")
        client = self._client(address)
        try:
            found = work(client)
        except (Error, OSError, EOFError) as error:
            # The rest of the answer may still be on its way
            client.disconnect()
            raise self._note_failure(address, breaker, error) from error
        except BaseException:
            client.disconnect()
            breaker.give_up()
            raise
        breaker.succeed()
        return found

    def _note_failure(self, address: Address, breaker: CircuitBreaker, error: BaseException) -> NodeError:
        name = type(error).__name__
        if isinstance(error, ServerException):
            # It is there. Not its text, which has the statement, and with it texts of messages
            breaker.succeed()
            return KINDS.get(error.code, NodeError)(f"{address}: {name} {error.code}")
        if breaker.is_closed:
            log.warning("archive_node_away", node=str(address), cause=name)
        breaker.fail(time.monotonic())
        return NodeAwayError(f"{address}: {name}")

    def _client(self, address: Address) -> Client:
        clients: dict[Address, Client] | None = getattr(self._own, "clients", None)
        if clients is None:
            clients = self._own.clients = {}
        client = clients.get(address)
        if client is None:
            client = clients[address] = Client(
                address.host,
                address.port,
                # It need not exist yet: statements name it
                database="",
                user=self._access.user,
                password=self._access.password,
                client_name="palaver",
                connect_timeout=CONNECT_SECONDS,
                send_receive_timeout=self._answer_seconds,
                sync_request_timeout=CONNECT_SECONDS,
                settings={**SETTINGS, "max_execution_time": int(self._answer_seconds * 2)},
            )
            self._opened.append(client)
        return client
