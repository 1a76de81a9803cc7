"""Files of the engines' directory."""

import stat
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from palaver.infra.files import make_directory, make_local, packaged, rendered, write_file
from palaver.runtime.startup import StartError

REPOSITORY = Path(__file__).parents[3]


def test_a_file_is_its_owners_from_its_first_byte(tmp_path: Path) -> None:
    """Other users could read a password in the moment before the file's mode is set."""
    (tmp_path / "file.new").write_text("left by a kill")
    write_file(tmp_path / "file", "secret")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_operators_own_lines_stay(tmp_path: Path) -> None:
    """A start would undo what an operator has tuned."""
    make_local(tmp_path / "own.cnf", "# yours\n").write_text("[mysqld]\nmax_connections = 7\n")
    make_local(tmp_path / "own.cnf", "# yours\n")
    assert "= 7" in (tmp_path / "own.cnf").read_text()


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    """An operator would read a traceback in place of a path."""
    (tmp_path / "file").touch()
    with pytest.raises(StartError, match=r"cannot write to directory .*file: Not a directory"):
        make_directory(tmp_path / "file")
    with pytest.raises(StartError, match=r"cannot write .*file/inner: Not a directory"):
        write_file(tmp_path / "file" / "inner", "")


def test_templates_come_with_the_wheel(tmp_path: Path) -> None:
    """`palaver infra up` of an installed wheel would find no configuration, compose file or installer."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
    )
    [wheel] = tmp_path.glob("*.whl")
    packed = {name for name in ZipFile(wheel).namelist() if name.startswith("palaver/infra/")}
    templates = {f"engines/{path.name}" for path in (REPOSITORY / "deploy" / "engines").iterdir()}
    assert len(templates) > 5
    for name in {"compose.yaml", "debian.sh", *templates}:
        assert f"palaver/infra/{name}" in packed
        assert Path(packaged(name)).is_file()
    assert "innodb_flush_log_at_trx_commit = 1" in rendered("mysql.cnf", {})
