"""What the bench runs ejabberd with, and what it says where it can't."""

from pathlib import Path

import pytest
import yaml

from bench.__main__ import parse
from bench.beside.ejabberd import complaint, config_of, missing_packages


def test_each_message_is_archived_in_sql_and_nothing_is_limited() -> None:
    """An ejabberd that archives nothing, or waits in a shaper, would make the comparison unfair."""
    config = yaml.safe_load(yaml.safe_dump(config_of(5222, 3306)))
    assert config["modules"]["mod_mam"] == {"db_type": "sql", "default": "always"}
    assert set(config["modules"]) == {"mod_mam", "mod_stream_mgmt"}
    assert config["listen"] == [{"port": 5222, "ip": "127.0.0.1", "module": "ejabberd_c2s"}]
    assert (config["sql_type"], config["sql_server"], config["sql_port"]) == ("mysql", "127.0.0.1", 3306)
    assert not [name for name in config if "shaper" in name or "pool" in name]


def test_missing_packages_are_named_one_by_one(tmp_path: Path) -> None:
    """Who lacks one package must not be told to install what is there."""
    lib, programs = tmp_path / "lib", tmp_path / "bin"
    programs.mkdir()
    assert missing_packages(lib, str(programs)) == ["ejabberd", "erlang-p1-mysql", "mariadb-server"]
    app = lib / "x86_64-linux-gnu/ejabberd-23.01-1/ebin/ejabberd.app"
    app.parent.mkdir(parents=True)
    app.touch()
    for name in ("erl", "mariadbd", "mariadb", "mariadb-install-db"):
        (programs / name).touch(mode=0o755)
    assert missing_packages(lib, str(programs)) == ["erlang-p1-mysql"]
    (lib / "erlang/lib/p1_mysql-1.0.21").mkdir(parents=True)
    assert missing_packages(lib, str(programs)) == []


def test_a_missing_package_is_one_line_and_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who has no ejabberd must learn at once how to get it, not from a traceback half an hour later."""
    monkeypatch.setattr("bench.__main__.missing_packages", lambda: ["ejabberd", "mariadb-server"])
    with pytest.raises(SystemExit) as ended:
        parse(["--beside", "ejabberd"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"{complaint(['ejabberd', 'mariadb-server'])}\n"
    assert complaint(["ejabberd", "mariadb-server"]) == (
        "--beside ejabberd needs Debian's ejabberd, mariadb-server: "
        "run requirements/debian.sh ejabberd mariadb-server"
    )
    assert not parse([]).beside


def test_beside_needs_a_shape_that_ejabberd_can_run(capsys: pytest.CaptureFixture[str]) -> None:
    """A comparison that would silently compare nothing wastes the half hour that it takes."""
    with pytest.raises(SystemExit):
        parse(["--only", "history", "--beside", "ejabberd"])
    assert "add one of one, pairs, paced" in capsys.readouterr().err
