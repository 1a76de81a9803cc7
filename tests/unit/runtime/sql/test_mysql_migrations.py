"""Migrations on a real MariaDB."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator

import pytest

from palaver.auth.database import KIND as AUTH
from palaver.messenger.database import KIND as MESSENGER
from palaver.runtime.sql.database_file import DatabaseKind, SchemaTooNewError, newest_version
from palaver.runtime.sql.locations import migrate_database
from palaver.runtime.startup import StartError
from tests.harness.mariadb import GENERAL_CI, UCA1400, MariadbSchema, MariadbServer

KINDS = {"auth": AUTH, "messenger": MESSENGER}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> DatabaseKind:
    """Each service's."""
    return KINDS[request.param]


@pytest.fixture(params=[GENERAL_CI, UCA1400], ids=["general_ci", "uca1400"])
def other_schema(request: pytest.FixtureRequest, mariadb: MariadbServer) -> Iterator[MariadbSchema]:
    """An empty schema with other defaults than `mariadb_schema`, which is latin1."""
    schema = mariadb.make_schema(request.param)
    yield schema
    schema.drop()


def version(schema: MariadbSchema) -> str:
    [(found,)] = schema.execute("SELECT version_num FROM alembic_version")
    return str(found)


async def test_defaults_of_the_server_do_not_matter(
    mariadb_schema: MariadbSchema, other_schema: MariadbSchema, kind: DatabaseKind
) -> None:
    """On a server of another country's defaults names would be cut, and "é" be taken for "e"."""
    for schema in (mariadb_schema, other_schema):
        assert await migrate_database(schema.address, kind) is True
    assert mariadb_schema.description() == other_schema.description()
    charsets = mariadb_schema.execute(
        "SELECT DISTINCT character_set_name, collation_name FROM information_schema.columns "
        "WHERE table_schema = DATABASE() AND character_set_name IS NOT NULL"
    )
    assert charsets == (("utf8mb4", "utf8mb4_bin"),)


async def test_ids_keep_their_last_bytes(mariadb_schema: MariadbSchema, kind: DatabaseKind) -> None:
    """One id in 256 ends in 00, and its user or chat would never be found."""
    await migrate_database(mariadb_schema.address, kind)
    types = mariadb_schema.execute(
        "SELECT column_name, data_type, character_maximum_length FROM information_schema.columns "
        "WHERE table_schema = DATABASE() AND column_key != '' AND data_type LIKE '%%bin%%'"
    )
    assert {data_type for _, data_type, _ in types} == {"varbinary"}
    assert ("id", "varbinary", 16) in types or ("chat_id", "varbinary", 16) in types
    keys = mariadb_schema.execute(
        "SELECT data_type FROM information_schema.columns "
        "WHERE table_schema = DATABASE() AND column_key != ''"
    )
    assert not [data_type for (data_type,) in keys if data_type.endswith(("blob", "text"))]


@pytest.mark.parametrize("other_schema", [UCA1400], indirect=True)
async def test_a_killed_migrator_is_finished_by_the_next(
    mariadb_schema: MariadbSchema, other_schema: MariadbSchema, kind: DatabaseKind
) -> None:
    """A power cut while Palaver was upgraded would leave a database that no version can use."""
    await migrate_database(other_schema.address, kind)
    command = [sys.executable, "-m", "tests.harness.killed_migrator", kind.service, mariadb_schema.url]
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    # Each table, index and column was one
    assert int(done.stdout) > 10
    assert mariadb_schema.description() == other_schema.description()
    for table in ("locks", "proof_key"):
        if table in mariadb_schema.tables():
            assert mariadb_schema.count(table) == other_schema.count(table)
    assert version(mariadb_schema) == newest_version(kind.migrations)


async def test_one_migrator_at_a_time(mariadb_schema: MariadbSchema) -> None:
    """Replicas that start together would fail, or make tables twice."""
    changed = await asyncio.gather(*(migrate_database(mariadb_schema.address, AUTH) for _ in range(4)))
    assert sorted(changed) == [False, False, False, True]
    assert await migrate_database(mariadb_schema.address, AUTH) is False


async def test_a_newer_schema_is_refused(mariadb_schema: MariadbSchema) -> None:
    """An older Palaver would damage a newer one's accounts."""
    await migrate_database(mariadb_schema.address, AUTH)
    mariadb_schema.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaTooNewError, match="has schema 9999, this program knows") as refused:
        await migrate_database(mariadb_schema.address, AUTH)
    assert mariadb_schema.password not in str(refused.value)
    assert version(mariadb_schema) == "9999"


async def test_another_services_schema_is_refused(mariadb_schema: MariadbSchema) -> None:
    """Two services on one schema would each take the other's version for their own, and find no tables."""
    await migrate_database(mariadb_schema.address, AUTH)
    tables = mariadb_schema.tables()
    with pytest.raises(StartError, match=r"is not one of messenger, .*: look at messenger\.database_url$"):
        await migrate_database(mariadb_schema.address, MESSENGER)
    assert mariadb_schema.tables() == tables


async def test_another_programs_schema_is_refused(mariadb_schema: MariadbSchema) -> None:
    """A wrong URL would put our tables between another program's."""
    mariadb_schema.execute("CREATE TABLE users (id INT PRIMARY KEY)")
    with pytest.raises(StartError, match="is not one of auth"):
        await migrate_database(mariadb_schema.address, AUTH)
    assert mariadb_schema.tables() == ["users"]


async def test_old_migrations_do_not_wait_behind_readers_for_ever(
    mariadb_schema: MariadbSchema, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forgotten transaction of the previous version would stop every service behind the migrator."""
    monkeypatch.setattr("palaver.runtime.sql.mysql_migrations.TABLE_SECONDS", 1)
    await migrate_database(mariadb_schema.address, AUTH)
    mariadb_schema.execute("UPDATE alembic_version SET version_num = '0001'")
    mariadb_schema.execute("ALTER TABLE sessions DROP COLUMN successor_salt")
    with mariadb_schema.connection() as reading:
        reading.exec_driver_sql("SELECT * FROM sessions").all()
        with pytest.raises(StartError, match="MYSQL_1205"):
            await migrate_database(mariadb_schema.address, AUTH)
    assert await migrate_database(mariadb_schema.address, AUTH) is True
