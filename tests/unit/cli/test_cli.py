"""The command line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import palaver
from palaver.cli import app
from palaver.runtime.settings_page import settings_page

COMMANDS = [
    ["up"],
    ["gateway"],
    ["auth"],
    ["messenger"],
    ["archiver"],
    ["service"],
    ["infra"],
    ["infra", "up"],
    ["infra", "status"],
    ["infra", "down"],
    ["infra", "run"],
    ["migrate"],
    ["keys"],
    ["keys", "rotate"],
    ["settings"],
    ["chat"],
    ["version"],
    ["trace"],
    ["logs"],
]


def run(*words: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """`palaver WORDS`, with these variables of ours and no others."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PALAVER_")}
    return subprocess.run(
        [sys.executable, "-m", "palaver", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**environment, "COLUMNS": "100", **variables},
    )


def help_of(*command: str) -> str:
    """What `palaver COMMAND --help` shows."""
    shown = CliRunner().invoke(app, [*command, "--help"], prog_name="palaver", env={"COLUMNS": "100"})
    assert shown.exit_code == 0
    return shown.stdout


def test_help_lists_every_command() -> None:
    """A newcomer could not find out what can be done."""
    shown = help_of()
    assert all(f"\n│ {command[0]} " in shown for command in COMMANDS)
    registered = [command.name or command.callback.__name__ for command in app.registered_commands]
    assert {*registered, "keys", "infra"} == {command[0] for command in COMMANDS}


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_has_an_example(command: list[str]) -> None:
    """An operator would have to guess how options are written."""
    assert f"palaver {' '.join(command)}" in help_of(*command).partition("Example")[2]


def test_version() -> None:
    """A report of a fault could not say what it is about."""
    assert run("version").stdout == run("--version").stdout == f"{palaver.__version__}\n"


def test_settings_prints_the_reference() -> None:
    """The reference page could not be made again, nor read where there is no network."""
    assert run("settings").stdout == settings_page()


@pytest.mark.parametrize("command", ["up", "gateway", "auth", "messenger", "service", "migrate"])
def test_an_unknown_setting_is_one_line_and_an_exit_code(command: str) -> None:
    """A misspelt setting would be ignored, or drowned in a traceback."""
    done = run(command, PALAVER_GATEWAY__PROT="1")
    assert done.returncode == 1
    assert done.stderr == "palaver: environment variable PALAVER_GATEWAY__PROT: there is no such setting\n"
    assert done.stdout == ""


def test_a_config_file_is_read(tmp_path: Path) -> None:
    """`--config` would be accepted and ignored."""
    config = tmp_path / "palaver.toml"
    config.write_text("[gateway]\nprot = 1\n")
    done = run("up", "--config", str(config))
    assert done.returncode == 1
    assert done.stderr == "palaver: setting gateway.prot: there is no such setting\n"


def test_an_unwritable_directory_starts_nothing(tmp_path: Path) -> None:
    """Services would start without a place for messages."""
    (tmp_path / "file").touch()
    done = run("up", "--port", "0", "--data-dir", str(tmp_path / "file"))
    assert done.returncode == 1
    assert done.stderr == f"palaver: cannot write to data directory {tmp_path}/file: Not a directory\n"


@pytest.mark.parametrize("command", ["auth", "messenger", "migrate", "keys rotate"])
def test_a_service_names_an_unwritable_directory(tmp_path: Path, command: str) -> None:
    """An operator would have to read a traceback of the database's driver."""
    (tmp_path / "file").touch()
    done = run(*command.split(), PALAVER_DATA_DIR=str(tmp_path / "file"))
    assert done.returncode == 1
    assert done.stderr == f"palaver: cannot write to data directory {tmp_path}/file: Not a directory\n"


@pytest.mark.parametrize("command", ["migrate", "keys rotate", "keys rotate --revoke"])
@pytest.mark.parametrize("made", [True, False])
def test_a_wrong_directory_is_not_filled(tmp_path: Path, command: str, made: bool) -> None:
    """An operator would be told that a leaked key is gone, of an empty database beside the real one."""
    data_dir = tmp_path / "wrong"
    if made:
        data_dir.mkdir()
    for done in (
        run(*command.split(), "--data-dir", str(data_dir)),
        run(*command.split(), PALAVER_DATA_DIR=str(data_dir)),
    ):
        assert done.returncode == 1
        assert done.stderr.startswith(f"palaver: there is no database {data_dir}/auth.db")
        assert done.stderr.count("\n") == 1
        assert done.stdout == ""
    assert list(tmp_path.rglob("*")) == ([data_dir] if made else [])


def test_an_empty_file_is_no_database(tmp_path: Path) -> None:
    """A file that a failed copy left would become a database without accounts, and look well."""
    (tmp_path / "auth.db").touch()
    done = run("keys", "rotate", "--data-dir", str(tmp_path))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert (tmp_path / "auth.db").stat().st_size == 0
    assert [file.name for file in tmp_path.iterdir()] == ["auth.db"]


def test_databases_are_made_where_that_is_asked_for(tmp_path: Path) -> None:
    """Databases could not be prepared before the first start, nor keys changed by the directory's name."""
    data_dir = str(tmp_path / "new")
    made = run("migrate", "--create", "--data-dir", data_dir)
    assert (made.returncode, made.stderr) == (0, "")
    assert "auth: migrated" in made.stdout
    again = run("migrate", "--data-dir", data_dir)
    assert again.stdout == "auth: has the newest schema\nmessenger: has the newest schema\n"
    rotated = run("keys", "rotate", "--data-dir", data_dir)
    assert (rotated.returncode, rotated.stderr) == (0, "")
    (tmp_path / "new" / "messenger.db").unlink()
    alone = run("migrate", "--data-dir", data_dir)
    assert alone.returncode == 1
    assert alone.stdout == "auth: has the newest schema\n"
    assert alone.stderr.startswith(f"palaver: messenger: there is no database {data_dir}/messenger.db (")
    assert not (tmp_path / "new" / "messenger.db").exists()


def test_the_command_line_imports_no_service() -> None:
    """Every start would pay for libraries that only other services use."""
    heavy = (
        "aiohttp",
        "alembic",
        "argon2",
        "fastapi",
        "grpc",
        "rich",
        "sqlalchemy",
        "sqlite3",
        "uvicorn",
        "palaver.auth",
    )
    code = f"import sys, palaver.cli, palaver.standalone; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("command", ["gateway", "auth", "messenger"])
def test_a_service_without_the_secret_does_not_start(command: str, tmp_path: Path) -> None:
    """It would serve whoever can reach it; or an operator would read a traceback."""
    done = run(command, PALAVER_DATA_DIR=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == (
        "palaver: setting secret: is missing; services of one deployment need the same (or secret_file)\n"
    )


@pytest.mark.parametrize("command", ["up", "gateway", "auth", "messenger"])
def test_a_wrong_secret_is_named_and_not_shown(command: str, tmp_path: Path) -> None:
    """A secret would be in the journal of systemd."""
    done = run(command, PALAVER_DATA_DIR=str(tmp_path), PALAVER_SECRET="Psst, too short")
    assert done.returncode == 1
    assert done.stderr == (
        "palaver: setting PALAVER_SECRET: must be 32 to 256 of A-Z a-z 0-9 _ . ~ + / = -\n"
    )


def test_the_reference_shows_no_secret() -> None:
    """Whoever prints the settings for somebody else would give the secret away."""
    secret = "Psst" * 10
    assert secret not in run("settings", PALAVER_SECRET=secret).stdout
