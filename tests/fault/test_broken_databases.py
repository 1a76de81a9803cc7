"""Every command that opens a database, before one that is none of its service."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.broken_databases import (
    BROKEN,
    Break,
    directory,
    empty_beside_log,
    garbage,
    make_own,
    newer_schema,
    other_program,
    other_service,
    snapshot,
)
from tests.harness.inside import VARIABLES

COMMANDS = {
    "auth": "auth",
    "messenger": "messenger",
    "migrate": "messenger",
    "keys rotate": "auth",
    "up": "auth",
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("broken", [garbage, other_program], ids=lambda broken: broken.__name__)
def test_a_command_names_the_file_and_writes_nothing(tmp_path: Path, command: str, broken: Break) -> None:
    """One wrong path would overwrite another program's data, or say that all went well."""
    check_refused(tmp_path, command, broken)


@pytest.mark.parametrize(
    "broken", [directory, other_service, empty_beside_log, newer_schema], ids=lambda broken: broken.__name__
)
def test_a_service_names_the_file_and_writes_nothing(tmp_path: Path, broken: Break) -> None:
    """A service would throw away what could have been restored."""
    check_refused(tmp_path, "messenger", broken)


def check_refused(data_dir: Path, command: str, broken: Break) -> None:
    """Runs a command before a broken database, and looks at what it says and leaves."""
    file = data_dir / f"{COMMANDS[command]}.db"
    broken(file)
    if command == "migrate":
        # It comes to auth's database first
        make_own(data_dir / "auth.db")
    before = snapshot(data_dir)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PALAVER_")}
    environment |= {"PALAVER_DATA_DIR": str(data_dir), "PALAVER_GATEWAY__PORT": "0", **VARIABLES}
    done = subprocess.run(
        [sys.executable, "-m", "palaver", *command.split(), *(["--port", "0"] if command == "up" else [])],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert str(file) in done.stderr
    assert BROKEN[broken] in done.stderr
    after = snapshot(data_dir)
    assert {name: after[name] for name in before} == before
    assert not {name for name in after if ".db" in name} - set(before)
