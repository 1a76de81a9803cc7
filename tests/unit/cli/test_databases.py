"""`palaver migrate` and `palaver keys` where databases are schemas of a server."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest

from tests.harness.mariadb import MariadbSchema, MariadbServer
from tests.harness.nginx import free_port

Schemas = tuple[MariadbSchema, MariadbSchema]


@pytest.fixture
def schemas(mariadb: MariadbServer) -> Iterator[Schemas]:
    """Auth's and the messenger's, empty, each with an account of its own."""
    made = mariadb.make_schema(), mariadb.make_schema()
    yield made
    for schema in made:
        schema.drop()


def run(data_dir: Path, command: str, auth: str, messenger: str) -> "subprocess.CompletedProcess[str]":
    """A command whose services have these URLs."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PALAVER_")}
    urls = {"PALAVER_AUTH__DATABASE_URL": auth, "PALAVER_MESSENGER__DATABASE_URL": messenger}
    return subprocess.run(
        [sys.executable, "-m", "palaver", *command.split(), "--data-dir", str(data_dir)],
        capture_output=True,
        text=True,
        env=environment | urls,
        check=False,
        timeout=60,
    )


def test_both_schemas_are_migrated(tmp_path: Path, schemas: Schemas) -> None:
    """A deployment could not be prepared before its services start, nor its keys be changed; or one service's
    account would read passwords' hashes and keys of the other's."""
    auth, messenger = schemas
    done = run(tmp_path, "migrate", auth.url, messenger.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "auth: migrated to the newest schema\nmessenger: migrated to the newest schema\n"
    again = run(tmp_path, "migrate", auth.url, messenger.url)
    assert again.stdout == "auth: has the newest schema\nmessenger: has the newest schema\n"
    rotated = run(tmp_path, "keys rotate", auth.url, messenger.url)
    assert (rotated.returncode, rotated.stderr) == (0, "")
    assert auth.count("signing_keys") == 1
    assert list(tmp_path.iterdir()) == []
    # Whoever breaks into one service reads nothing of the other
    for one, other in (schemas, schemas[::-1]):
        assert one.execute("SELECT count(*) FROM alembic_version") == ((1,),)
        with pytest.raises(pymysql.err.OperationalError, match="denied"):
            one.execute(f"SELECT * FROM {other.name}.alembic_version")


def test_one_of_two_that_is_away_fails_and_is_named(tmp_path: Path, schemas: Schemas) -> None:
    """A script would go on to start services on half of a deployment."""
    auth, messenger = schemas
    away = messenger.url.replace(f":{messenger.server.port}/", f":{free_port()}/")
    refused = messenger.url.replace(messenger.password, "another-password")
    for url, number in ((away, "2003"), (refused, "1045")):
        done = run(tmp_path, "migrate", auth.url, url)
        assert done.returncode == 1, done
        assert done.stdout.startswith("auth: ")
        assert done.stderr.startswith(f"palaver: messenger: database mysql://{messenger.name}@127.0.0.1:")
        assert f"MYSQL_{number}" in done.stderr
        assert done.stderr.count("\n") == 1
        for secret in (messenger.password, "another-password"):
            assert secret not in done.stdout + done.stderr


def test_a_schema_and_a_file_that_is_missing(tmp_path: Path, schemas: Schemas) -> None:
    """The missing one would be passed over in silence."""
    done = run(tmp_path, "migrate", schemas[0].url, "")
    assert done.returncode == 1
    assert done.stdout == "auth: migrated to the newest schema\n"
    missing = f"{tmp_path}/messenger.db"
    assert done.stderr.startswith(f"palaver: messenger: there is no database {missing} (")
    assert not Path(missing).exists()
