"""A service's database at its start, wherever it is."""

from pathlib import Path

import pytest

from palaver.auth.database import KIND
from palaver.runtime.sql.database import DatabaseUnavailableError
from palaver.runtime.sql.health import do_nothing
from palaver.runtime.sql.locations import (
    disk_checks,
    exists,
    migrate_database,
    open_database,
    starting_with,
    upkeep,
)
from palaver.runtime.sql.mysql import MysqlDatabase
from palaver.runtime.sql.sqlite import SqliteDatabase
from palaver.runtime.sql.url import MysqlAddress
from palaver.runtime.startup import StartError
from tests.harness.auth_service import AuthHome
from tests.harness.nginx import free_port


async def test_a_migrated_database_is_opened_and_used(auth_home: AuthHome) -> None:
    """A service would not start on one of the engines."""
    location = auth_home.location
    await migrate_database(location, KIND)
    assert exists(location)
    database = open_database(location, 2)
    assert isinstance(database, MysqlDatabase if auth_home.schema else SqliteDatabase)
    async with upkeep(location):
        await database.write(do_nothing)
        await database.read(do_nothing)
    await database.close()
    # A server's disk is not looked at from here
    assert all([await check() for check in disk_checks(location).values()])
    assert set(disk_checks(location)) == (set() if auth_home.schema else {"disk"})


def test_an_empty_file_is_no_database(tmp_path: Path) -> None:
    """A command would make a database of what a failed copy left."""
    assert not exists(tmp_path / "auth.db")
    (tmp_path / "auth.db").touch()
    assert not exists(tmp_path / "auth.db")


async def test_a_server_that_is_away_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator would read a traceback, with the password in it."""
    monkeypatch.setattr("palaver.runtime.sql.mysql_connections.REPEAT_SECONDS", {"write": 0.0, "read": 0.0})
    address = MysqlAddress("127.0.0.1", free_port(), "someone", "somewhere", "a secret")
    with pytest.raises(StartError, match=r"^database mysql://someone@127.0.0.1:\d+/somewhere cannot") as told:
        await migrate_database(address, KIND)
    assert told.value.passes
    database = open_database(address, 2)
    with pytest.raises(StartError, match="MYSQL_2003"), starting_with(address):
        await database.write(do_nothing)
    with pytest.raises(DatabaseUnavailableError):
        await database.read(do_nothing)
    await database.close()
    assert "a secret" not in str(told.value)
