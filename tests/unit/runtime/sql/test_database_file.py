"""What may be opened as a service's database, and what is left alone."""

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from palaver.auth.database import KIND as AUTH
from palaver.messenger.database import KIND as MESSENGER
from palaver.runtime.sql.database_file import DatabaseKind, check_file, opening, prepare_file
from palaver.runtime.startup import StartError
from tests.harness.broken_databases import BROKEN, Break, make_own, running_log, snapshot, unmark
from tests.harness.inside import VARIABLES

KINDS = {"auth": AUTH, "messenger": MESSENGER}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> DatabaseKind:
    """Each service's."""
    return KINDS[request.param]


def file_of(kind: DatabaseKind, directory: Path) -> Path:
    return directory / f"{kind.service}.db"


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
def test_what_is_no_database_of_ours_is_left_alone(tmp_path: Path, kind: DatabaseKind, broken: Break) -> None:
    """A wrong path would have another program's data overwritten, or a repairable database thrown away."""
    file = file_of(kind, tmp_path)
    broken(file)
    file.with_name("traces").mkdir()
    before = snapshot(tmp_path)
    with pytest.raises(StartError) as refused:
        prepare_file(file, kind)
    assert snapshot(tmp_path) == before
    assert str(file) in str(refused.value)
    assert BROKEN[broken] in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not refused.value.passes


def test_new_and_own_databases_are_taken(tmp_path: Path, kind: DatabaseKind) -> None:
    """Nothing would start for the first time, or for the second."""
    file = file_of(kind, tmp_path)
    prepare_file(file, kind)
    make_own(file)
    prepare_file(file, kind)
    assert file.read_bytes()[68:72] == kind.application_id.to_bytes(4, "big")
    assert file.stat().st_mode & 0o777 == 0o600


def test_an_empty_file_is_a_new_database(tmp_path: Path, kind: DatabaseKind) -> None:
    """A start that was killed at its first file would be the last one."""
    file = file_of(kind, tmp_path)
    file.touch()
    prepare_file(file, kind)
    make_own(file)


def test_a_database_from_before_the_mark_is_taken_and_marked(tmp_path: Path, kind: DatabaseKind) -> None:
    """An upgrade would refuse everybody's data."""
    file = file_of(kind, tmp_path)
    make_own(file)
    unmark(file)
    prepare_file(file, kind)
    assert file.read_bytes()[68:72] == kind.application_id.to_bytes(4, "big")


@pytest.mark.parametrize("marked", [True, False])
def test_a_killed_service_finds_its_database_again(
    tmp_path: Path, kind: DatabaseKind, *, marked: bool
) -> None:
    """After a `kill -9` in its first minutes, all that a service has is in the write-ahead log."""
    file = file_of(kind, tmp_path)
    (tmp_path / "killed").mkdir()
    killed = tmp_path / "killed" / file.name
    with running_log(file):
        shutil.copyfile(file, killed)
        shutil.copyfile(f"{file}-wal", f"{killed}-wal")
    if not marked:
        killed.write_bytes(b"")
        write_all_into_log(file, killed, kind)
    prepare_file(killed, kind)
    found = sqlite3.connect(killed)
    assert kind.tables <= {name for (name,) in found.execute("SELECT name FROM sqlite_schema")}
    found.close()


def write_all_into_log(file: Path, killed: Path, kind: DatabaseKind) -> None:
    """A database of an older Palaver, killed before its log was ever copied into the file."""
    tables = sqlite3.connect(file)
    statements = [
        sql
        for (name, sql) in tables.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'table'")
        if name in kind.tables
    ]
    tables.close()
    script = "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); "
    script += "c.execute('PRAGMA journal_mode=WAL'); [c.execute(s) for s in sys.argv[2:]]; os._exit(0)"
    killed.with_name(f"{killed.name}-wal").unlink()
    subprocess.run([sys.executable, "-c", script, str(killed), *statements], check=True)
    assert killed.with_name(f"{killed.name}-wal").stat().st_size > 0


def test_a_link_leads_to_the_log_beside_its_target(tmp_path: Path, kind: DatabaseKind) -> None:
    """A data directory of links would lose what is in the log of an emptied database."""
    (tmp_path / "disk").mkdir()
    target = file_of(kind, tmp_path / "disk")
    target.touch()
    target.with_name(f"{target.name}-wal").write_bytes(b"all that was written")
    link = file_of(kind, tmp_path)
    link.symlink_to(target)
    with pytest.raises(StartError, match="is empty"):
        prepare_file(link, kind)


def test_what_may_only_be_read_is_named(tmp_path: Path, kind: DatabaseKind) -> None:
    """An operator would learn of a read-only mount from a traceback."""
    file = file_of(kind, tmp_path / "mount")
    file.parent.mkdir()
    make_own(file)
    script = (
        f"mount --bind {file.parent} {file.parent} && mount -o remount,bind,ro {file.parent} && "
        f"exec {sys.executable} -m palaver {kind.service}"
    )
    environment = {**os.environ, **VARIABLES, "PALAVER_TELEMETRY__TRACES": "false"}
    environment["PALAVER_DATA_DIR"] = str(tmp_path)
    environment[f"PALAVER_{kind.service.upper()}__DATABASE_URL"] = f"sqlite:///{file}"
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    if "unshare" in done.stderr:
        pytest.skip("a read-only mount needs root")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"database {file} cannot be written" in done.stderr


def test_damage_that_is_found_later_is_named(tmp_path: Path) -> None:
    """A database that breaks while it is opened would end the start with a traceback."""
    error = sqlite3.DatabaseError("database disk image is malformed")
    error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_CORRUPT, "SQLITE_CORRUPT"
    with pytest.raises(StartError, match="is damaged"), opening(tmp_path / "auth.db"):
        raise error
    error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_FULL, "SQLITE_FULL"
    with pytest.raises(StartError, match="cannot be used") as refused, opening(tmp_path / "auth.db"):
        raise error
    assert refused.value.passes


def test_checking_waits_for_nobody(tmp_path: Path, kind: DatabaseKind) -> None:
    """`palaver up` would stand still at a pipe, with nothing on its terminal."""
    file = file_of(kind, tmp_path)
    os.mkfifo(file)
    with pytest.raises(StartError, match="not a file"):
        check_file(file, kind)
