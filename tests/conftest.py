"""Fixtures that more than one kind of test uses."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from palaver.auth.database import KIND as AUTH
from palaver.messenger.database import KIND as MESSENGER
from palaver.runtime.sql.locations import migrate_database
from tests.harness.auth_service import AuthHome
from tests.harness.clickhouse import ClickHouseCluster, running_clickhouse
from tests.harness.mariadb import MariadbSchema, MariadbServer, running_mariadb
from tests.harness.messenger_database import MessengerDatabase
from tests.harness.palaver_process import PalaverProcess, running_palaver
from tests.harness.redis import RedisServer, running_redis

TESTS = Path(__file__).parent
# They start many processes, and kill them: one at a time
ON_ONE_WORKER = {"e2e", "fault", "integration"}
LEAST_PRIORITY = 19


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keeps the tests of whole processes on one worker, while another one runs the rest."""
    for item in items:
        if is_of_processes(item):
            item.add_marker(pytest.mark.xdist_group("processes"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leaves the processor to the tests of whole processes, which time out where they get too little."""
    if hasattr(item.config, "workerinput") and not is_of_processes(item):
        os.setpriority(os.PRIO_PROCESS, 0, LEAST_PRIORITY)


def is_of_processes(item: pytest.Item) -> bool:
    """Whether a test starts processes."""
    return item.path.relative_to(TESTS).parts[0] in ON_ONE_WORKER


@pytest.fixture
def palaver(tmp_path: Path) -> Iterator[PalaverProcess]:
    """A Palaver of the test's own, without rate limits."""
    with running_palaver(tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def shared_palaver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PalaverProcess]:
    """One Palaver for a file's tests, without rate limits. They may not stop it, nor expect it empty."""
    with running_palaver(tmp_path_factory.mktemp("palaver")) as running:
        yield running


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariadbServer]:
    """One MariaDB for all tests, started at the first that needs it. They may not stop it."""
    with running_mariadb(tmp_path_factory.mktemp("mariadb")) as server:
        yield server


@pytest.fixture
def mariadb_schema(mariadb: MariadbServer) -> Iterator[MariadbSchema]:
    """An empty schema of the test's own."""
    schema = mariadb.make_schema()
    yield schema
    schema.drop()


@pytest.fixture(scope="session")
def auth_schema(mariadb: MariadbServer) -> MariadbSchema:
    """A schema with auth's tables."""
    schema = mariadb.make_schema()
    asyncio.run(migrate_database(schema.address, AUTH))
    return schema


@pytest.fixture(params=["sqlite", "mariadb"])
def auth_home(request: pytest.FixtureRequest, tmp_path: Path) -> AuthHome:
    """Where auths of the test keep accounts, on each engine. Nothing is there."""
    if request.param == "sqlite":
        return AuthHome(tmp_path)
    schema: MariadbSchema = request.getfixturevalue("auth_schema")
    schema.empty("alembic_version", "locks")
    return AuthHome(tmp_path, schema)


@pytest.fixture(scope="session")
def messenger_schema(mariadb: MariadbServer) -> MariadbSchema:
    """A schema with the messenger's tables."""
    schema = mariadb.make_schema()
    asyncio.run(migrate_database(schema.address, MESSENGER))
    return schema


@pytest.fixture
def sql_engine() -> str:
    """What `messenger_db` is a database of. Files whose tests hold for both override it."""
    return "sqlite"


@pytest.fixture
def messenger_db(
    request: pytest.FixtureRequest, sql_engine: str, tmp_path: Path
) -> Iterator[MessengerDatabase]:
    """A database to make chats in, beside what a test runs on it."""
    if sql_engine == "sqlite":
        messenger_db = MessengerDatabase(tmp_path)
    else:
        schema: MariadbSchema = request.getfixturevalue("messenger_schema")
        schema.empty("alembic_version", "proof_key")
        messenger_db = MessengerDatabase(schema)
    yield messenger_db
    messenger_db.close()


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseCluster]:
    """A cluster of two shards that all tests share. They may not stop its nodes."""
    with running_clickhouse(tmp_path_factory.mktemp("clickhouse"), shards=2) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def session_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One Redis for all tests. They may not stop it; see `redis_server`."""
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_server(session_redis: RedisServer) -> RedisServer:
    """The tests' Redis, empty."""
    session_redis.command("FLUSHALL")
    return session_redis
