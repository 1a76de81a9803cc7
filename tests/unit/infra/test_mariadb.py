"""MySQL as a native process: what is written for it. Its real server is in tests/e2e."""

from pathlib import Path

import pytest

from palaver.infra.credentials import credentials_in
from palaver.infra.engine import Place
from palaver.infra.mariadb import MariadbEngine, accounts_sql
from palaver.infra.topology import Topology, docker_topology, native_topology


@pytest.mark.parametrize(
    ("topology", "host"), [(native_topology(23_300), "127.0.0.1"), (docker_topology(), "%")]
)
def test_each_account_has_its_own_schema_alone(tmp_path: Path, topology: Topology, host: str) -> None:
    """A hole in one service would give away the data of the other."""
    text = accounts_sql(topology, credentials_in(tmp_path))
    grants = [line for line in text.splitlines() if line.startswith("GRANT")]
    assert grants == [
        f"GRANT ALL PRIVILEGES ON `{schema}`.* TO '{schema}'@'{host}';" for schema in ("auth", "messenger")
    ]


def test_schemas_are_utf8mb4_whatever_the_server_says(tmp_path: Path) -> None:
    """Emoji would be lost on a server with other defaults."""
    text = accounts_sql(native_topology(23_300), credentials_in(tmp_path))
    made = [line for line in text.splitlines() if "CREATE DATABASE" in line]
    assert len(made) == 2
    assert all("CHARACTER SET utf8mb4 COLLATE utf8mb4_bin" in line for line in made)


def test_statements_are_a_line_each_and_run_again(tmp_path: Path) -> None:
    """The server would run a half of them, or stop at what is there already."""
    lines = accounts_sql(native_topology(23_300), credentials_in(tmp_path)).splitlines()
    assert all(line.endswith(";") for line in lines)
    assert all("IF NOT EXISTS" in line for line in lines if line.startswith("CREATE"))


def test_the_installed_release_is_known(tmp_path: Path) -> None:
    """Data of another release would be opened and rewritten."""
    place = Place("mysql", tmp_path, native_topology(23_300).addresses["mysql"])
    version = MariadbEngine(place, native_topology(23_300), credentials_in(tmp_path)).installed_version()
    assert version.count(".") == 2
    assert int(version.split(".")[0]) >= 10
