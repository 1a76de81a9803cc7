"""What is MySQL's own behind the port `Database`, on a real MariaDB whose own settings are hostile."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError

from palaver.contracts.errors import UNAVAILABLE
from palaver.runtime.requester import work_for
from palaver.runtime.sql import mysql, mysql_connections
from palaver.runtime.sql.database import DatabaseUnavailableError
from palaver.runtime.sql.health import is_usable
from palaver.runtime.sql.mysql import MysqlDatabase, check_server
from palaver.runtime.startup import StartError
from tests.harness.mariadb import MariadbSchema
from tests.harness.signals import Signal
from tests.unit.runtime.sql.things import add, count, make_table


@pytest.fixture
async def database(mariadb_schema: MariadbSchema) -> AsyncIterator[MysqlDatabase]:
    """A database with one empty table."""
    database = MysqlDatabase(mariadb_schema.address)
    await database.write(make_table)
    yield database
    await database.close()


def variable(connection: Connection, name: str) -> object:
    return connection.execute(text(f"SELECT @@session.{name}")).scalar()


def connection_id(connection: Connection) -> object:
    return connection.execute(text("SELECT CONNECTION_ID()")).scalar()


async def test_connections_do_not_trust_the_servers_settings(database: MysqlDatabase) -> None:
    """On a server of another time zone, character set or mode texts would be cut, and times be wrong."""
    for run, isolation in ((database.read, "REPEATABLE-READ"), (database.write, "READ-COMMITTED")):
        assert await run(variable, "tx_isolation") == isolation
        assert "STRICT_ALL_TABLES" in str(await run(variable, "sql_mode"))
        assert await run(variable, "time_zone") == "+00:00"
        assert await run(variable, "character_set_client") == "utf8mb4"
        assert await run(variable, "collation_connection") == "utf8mb4_bin"
        assert await run(variable, "innodb_lock_wait_timeout") == mysql_connections.LOCK_SECONDS
        assert await run(variable, "autocommit") == 0


async def test_there_are_no_more_connections_than_were_asked_for(
    database: MysqlDatabase, mariadb_schema: MariadbSchema
) -> None:
    """Replicas together would need more than the server gives, and the last one would not start."""
    await asyncio.gather(*(database.read(count) for _ in range(100)))
    await asyncio.gather(*(database.write(add, number) for number in range(100)))
    ((open_now,),) = mariadb_schema.server.execute(
        "SELECT count(*) FROM information_schema.processlist WHERE user = %s", mariadb_schema.name
    )
    assert open_now <= 6


@pytest.mark.parametrize("operation", ["read", "write"])
async def test_the_connection_of_who_gave_up_is_never_used_again(
    database: MysqlDatabase, operation: str
) -> None:
    """The next request would get the answer to another one's question."""
    run = getattr(database, operation)
    entered = Signal()

    def hang(connection: Connection) -> None:
        connection.execute(text("INSERT INTO things VALUES (1, '')" if operation == "write" else "SELECT 1"))
        entered.set()
        connection.execute(text("SELECT SLEEP(5), 'another answer'")).all()

    before = await run(connection_id)
    task = asyncio.create_task(run(hang))
    await entered.wait()
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [await run(count) for _ in range(10)] == [0] * 10
    assert await run(connection_id) != before


async def test_who_asks_for_much_does_not_keep_others_waiting(mariadb_schema: MariadbSchema) -> None:
    """One user with a hundred lists would take all connections, and everybody wait for them."""
    database = MysqlDatabase(mariadb_schema.address, readers=1)
    done: list[str] = []

    def note(_: Connection, name: str) -> None:
        done.append(name)

    async def run(name: str) -> None:
        work_for(name)
        await database.read(note, name)

    await asyncio.gather(*map(run, [*["greedy"] * 50, "alice"]))
    await database.close()
    assert done.index("alice") < 4


@pytest.mark.parametrize("operation", ["read", "write"])
async def test_connections_that_the_server_closed_are_replaced(
    database: MysqlDatabase, mariadb_schema: MariadbSchema, operation: str
) -> None:
    """After a restart of the server, or a night without requests, the first requests would fail."""
    run = getattr(database, operation)
    await asyncio.gather(*(run(count) for _ in range(10)))
    assert mariadb_schema.server.kill_connections(mariadb_schema.name) >= 1
    assert await asyncio.gather(*(run(count) for _ in range(10))) == [0] * 10


async def test_a_lock_that_is_not_given_undoes_everything(
    database: MysqlDatabase, mariadb_schema: MariadbSchema, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server undoes only the statement that waited: the rest would be committed as half a change."""
    monkeypatch.setitem(mysql_connections.REPEAT_SECONDS, "write", 0.0)
    await database.write(add, 1)
    other = MysqlDatabase(mariadb_schema.address)
    locked, done = Signal(), Signal()

    def lock(connection: Connection) -> None:
        connection.execute(text("SELECT id FROM things WHERE id = 1 FOR UPDATE")).all()
        locked.set()
        done.wait_in_work()

    def add_then_wait(connection: Connection, is_hidden: bool) -> None:
        connection.execute(text("SET SESSION innodb_lock_wait_timeout = 1"))
        add(connection, 2)
        try:
            connection.execute(text("UPDATE things SET name = 'x' WHERE id = 1"))
        except OperationalError:
            # As work that takes an error for harmless would
            if not is_hidden:
                raise

    holding = asyncio.create_task(other.write(lock))
    await locked.wait()
    for is_hidden in (False, True):
        with pytest.raises(DatabaseUnavailableError) as refused:
            await database.write(add_then_wait, is_hidden)
        assert refused.value.debug == {"database": "MYSQL_1205"}
        assert refused.value.kind is UNAVAILABLE
        assert database.is_failing
    done.set()
    await holding
    assert await database.read(count) == 1
    await database.write(add, 2)
    assert not database.is_failing
    await other.close()


async def test_one_of_two_who_block_each_other_begins_again(database: MysqlDatabase) -> None:
    """Users would get errors for what has nothing to do with them."""
    for number in (1, 2):
        await database.write(add, number)
    calls: list[int] = []
    has_first = {1: Signal(), 2: Signal()}

    def update_both(connection: Connection, first: int, second: int) -> None:
        calls.append(first)
        update = text("UPDATE things SET name = CONCAT(name, 'x') WHERE id = :id")
        connection.execute(update, {"id": first})
        has_first[first].set()
        has_first[second].wait_in_work()
        connection.execute(update, {"id": second})

    await asyncio.gather(database.write(update_both, 1, 2), database.write(update_both, 2, 1))
    assert len(calls) == 3
    names = await database.read(lambda c: c.execute(text("SELECT name FROM things")).scalars().all())
    assert names == ["xx", "xx"]


async def test_a_server_that_does_not_answer_is_unavailable(
    database: MysqlDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frozen server would keep requests for ever, and all connections with them."""
    calls: list[int] = []

    def hang(connection: Connection) -> None:
        calls.append(1)
        connection.execute(text("SELECT SLEEP(5)")).all()

    await database.read(count)
    monkeypatch.setitem(mysql_connections.TRANSACTION_SECONDS, "read", 0.2)
    monkeypatch.setitem(mysql_connections.REPEAT_SECONDS, "read", 0.0)
    with pytest.raises(DatabaseUnavailableError):
        await database.read(hang)
    assert calls == [1]
    assert await database.read(count) == 0


async def test_a_mistake_of_ours_is_not_repeated(database: MysqlDatabase) -> None:
    """Clients would repeat for ever what can never succeed, and nobody would look for the mistake."""
    calls: list[int] = []

    def mistake(connection: Connection) -> None:
        calls.append(1)
        connection.execute(text("SELECT * FROM nothing"))

    for run in (database.read, database.write):
        with pytest.raises(ProgrammingError):
            await run(mistake)
    assert len(calls) == 2
    assert not database.is_failing
    assert await is_usable(database)


async def test_reads_are_refused_what_writes(database: MysqlDatabase) -> None:
    """A statement that writes would slip past the writers, and be repeated."""
    with pytest.raises(DBAPIError):
        await database.read(add, 1)
    assert await database.read(count) == 0


async def test_nothing_is_written_after_a_close(mariadb_schema: MariadbSchema) -> None:
    """Work that comes too late would wait for ever."""
    database = MysqlDatabase(mariadb_schema.address)
    await database.write(make_table)
    await database.close()
    with pytest.raises(DatabaseUnavailableError):
        await database.write(add, 1)


async def test_packets_that_are_too_small_are_named(
    database: MysqlDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first long batch would fail, weeks after the start."""
    await database.read(check_server)
    monkeypatch.setattr(mysql, "STATEMENT_BYTES", 4 * 1024 * 1024 + 1)
    with pytest.raises(StartError, match="max_allowed_packet"):
        await database.read(check_server)
