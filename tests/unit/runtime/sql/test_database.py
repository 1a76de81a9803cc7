"""Databases: one suite over all adapters of the port `Database`."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, IntegrityError

from palaver.runtime.sql.database import Database
from palaver.runtime.sql.mysql import MysqlDatabase
from palaver.runtime.sql.sqlite import SqliteDatabase
from palaver.runtime.telemetry.tracing import tracer
from tests.harness.mariadb import MariadbSchema
from tests.harness.signals import BOUND_SECONDS, Signal
from tests.harness.tracing import SAMPLED, recording
from tests.unit.runtime.sql.things import add, count, make_table

# Opens one and the same database of a test, each time as another process would
OpenDatabase = Callable[[], Database]


@pytest.fixture(params=["sqlite", "mysql"])
def engine(request: pytest.FixtureRequest) -> str:
    """OpenTelemetry's name of an adapter's engine."""
    return str(request.param)


@pytest.fixture
def open_database(request: pytest.FixtureRequest, engine: str, tmp_path: Path) -> OpenDatabase:
    """What opens the test's database."""
    if engine == "sqlite":
        return lambda: SqliteDatabase(tmp_path / "things.db")
    schema: MariadbSchema = request.getfixturevalue("mariadb_schema")
    return lambda: MysqlDatabase(schema.address)


@pytest.fixture
async def database(open_database: OpenDatabase) -> AsyncIterator[Database]:
    """A database with one empty table."""
    database = open_database()
    await database.write(make_table)
    yield database
    await database.close()


async def test_what_was_written_survives_a_restart(database: Database, open_database: OpenDatabase) -> None:
    """Everything would be gone after a restart."""
    await database.write(add, 1, "kept")
    await database.close()
    again = open_database()
    assert await again.read(count) == 1
    await again.close()


async def test_exception_rolls_all_of_it_back(database: Database) -> None:
    """Half of a change would stay: a message without its seq, a session without its token."""

    def add_half(connection: Connection) -> None:
        add(connection, 1)
        add(connection, 2)
        raise LookupError("the rest went wrong")

    with pytest.raises(LookupError):
        await database.write(add_half)
    assert await database.read(count) == 0
    await database.write(add, 1)
    assert await database.read(count) == 1


async def test_reads_go_on_while_something_is_written(database: Database) -> None:
    """Every profile and history would wait for every write."""
    written, read = Signal(), Signal()

    def add_slowly(connection: Connection) -> None:
        add(connection, 1)
        written.set()
        read.wait_in_work()

    writing = asyncio.create_task(database.write(add_slowly))
    await written.wait()
    async with asyncio.timeout(BOUND_SECONDS):
        assert await asyncio.gather(*(database.read(count) for _ in range(20))) == [0] * 20
    read.set()
    await writing
    assert await database.read(count) == 1


async def test_reads_go_on_beside_each_other(database: Database) -> None:
    """One slow search would hold up all other reads."""
    one, other = Signal(), Signal()

    def meet(_: Connection, mine: Signal, theirs: Signal) -> None:
        mine.set()
        theirs.wait_in_work()

    await asyncio.gather(database.read(meet, one, other), database.read(meet, other, one))


async def test_a_read_sees_one_state(database: Database) -> None:
    """A page and its total would disagree, a chat's last message and its seq too."""
    counted, written = Signal(), Signal()

    def count_twice(connection: Connection) -> tuple[int, int]:
        first = count(connection)
        counted.set()
        written.wait_in_work()
        return first, count(connection)

    reading = asyncio.create_task(database.read(count_twice))
    await counted.wait()
    await database.write(add, 1)
    written.set()
    assert await reading == (0, 0)
    assert await database.read(count) == 1


async def test_reads_cannot_write(database: Database) -> None:
    """A statement that writes would slip past the one writer, and fail under load alone."""
    with pytest.raises(DBAPIError):
        await database.read(add, 1)
    assert await database.read(count) == 0


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
async def test_writes_follow_one_another(database: Database) -> None:
    """Two who read and then write would overwrite each other's change."""

    def add_next(connection: Connection) -> None:
        add(connection, count(connection))

    await asyncio.gather(*(database.write(add_next) for _ in range(200)))
    assert await database.read(count) == 200


async def test_two_processes_take_turns(database: Database, open_database: OpenDatabase) -> None:
    """`palaver keys rotate` beside a running auth would fail with a locked database."""
    other = open_database()
    writes = [one.write(add, number) for number in range(100) for one in (database, other)[number % 2 :][:1]]
    await asyncio.gather(*writes)
    assert await other.read(count) == 100
    await other.close()


async def test_close_waits_for_what_runs(open_database: OpenDatabase) -> None:
    """What was accepted just before a stop would be lost."""
    database = open_database()
    await database.write(make_table)
    writes = [asyncio.create_task(database.write(add, number)) for number in range(50)]
    await asyncio.sleep(0)
    await database.close()
    await asyncio.gather(*writes)
    again = open_database()
    assert await again.read(count) == 50
    await again.close()


async def test_errors_do_not_show_parameters(database: Database) -> None:
    """Password hashes and message texts would reach the log with an SQL error."""
    await database.write(add, 1)
    with pytest.raises(IntegrityError) as caught:
        await database.write(add, 1, "a secret")
    assert "a secret" not in str(caught.value)


@pytest.mark.parametrize("run", ["read", "read_short"])
async def test_transactions_of_a_request_are_traced(database: Database, engine: str, run: str) -> None:
    """A trace would not say whether a request waited for its database."""
    with recording() as recorded:
        with tracer.serve("request", SAMPLED, {}, is_edge=True) as work:
            await getattr(database, run)(count)
        await getattr(database, run)(count)
    span = recorded.span("count")
    assert (span.kind, span.parent_id, span.error) == ("client", work.span_id, "")
    assert span.attributes["db.system.name"] == engine
    assert span.attributes["db.namespace"]
    assert span.attributes["db.operation.name"] == "read"


@pytest.mark.parametrize("run", ["write", "write_short"])
async def test_failed_transactions_are_traced(database: Database, run: str) -> None:
    """A trace would show that a write went well which did not; or what was to be written."""
    with recording() as recorded, tracer.serve("request", SAMPLED, {}, is_edge=True):
        await getattr(database, run)(add, 1, "a secret")
        with pytest.raises(IntegrityError):
            await getattr(database, run)(add, 1, "a secret")
    first, second = [span for span in recorded.spans if span.name == "add"]
    assert (first.error, second.error) == ("", "IntegrityError")
    assert first.attributes["db.operation.name"] == "write"
    assert "a secret" not in str([span.attributes for span in recorded.spans])
