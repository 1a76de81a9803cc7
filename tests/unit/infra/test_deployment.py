"""What is decided at the first start."""

from pathlib import Path

import pytest

from palaver.infra.deployment import (
    Deployment,
    check_ports,
    decide,
    held_directory,
    is_free,
    known_deployment,
)
from palaver.runtime.ports import listening
from palaver.runtime.settings import Settings
from palaver.runtime.settings.infra import InfraSettings
from palaver.runtime.startup import StartError


def wanting(engines: str = "auto", first_port: int = 0) -> Settings:
    """Settings that want this."""
    return Settings(infra=InfraSettings(engines=engines, first_port=first_port))


def test_ports_are_chosen_once(tmp_path: Path) -> None:
    """Services would look for engines where they were before."""
    chosen = decide(tmp_path, wanting(), docker=False, running=False)
    assert chosen.way == "native"
    assert known_deployment(tmp_path) == chosen
    with listening("127.0.0.1", chosen.first_port):
        assert decide(tmp_path, wanting(), docker=False, running=True) == chosen


def test_a_block_with_a_taken_port_is_passed_over(tmp_path: Path) -> None:
    """The first start would fail beside another deployment."""
    first = decide(tmp_path, wanting(), docker=False, running=False).first_port
    (tmp_path / "other").mkdir()
    with listening("127.0.0.1", first + 25):
        assert not is_free(first + 25)
        assert decide(tmp_path / "other", wanting(), docker=False, running=False).first_port != first


def test_ports_are_changed_while_nothing_runs(tmp_path: Path) -> None:
    """An operator whose ports are taken could not move, or would move away from running engines."""
    decide(tmp_path, wanting(first_port=24_000), docker=False, running=False)
    with pytest.raises(StartError, match=r"infra\.first_port: the engines run on others"):
        decide(tmp_path, wanting(first_port=25_000), docker=False, running=True)
    moved = decide(tmp_path, wanting(first_port=25_000), docker=False, running=False)
    assert moved.first_port == 25_000
    assert known_deployment(tmp_path) == moved


@pytest.mark.parametrize(
    ("engines", "docker", "way"),
    [
        ("auto", True, "docker"),
        ("auto", False, "native"),
        ("native", True, "native"),
        ("docker", False, "docker"),
    ],
)
def test_docker_is_taken_where_it_answers(tmp_path: Path, engines: str, docker: bool, way: str) -> None:
    """Engines would not run the way that an operator expects."""
    assert decide(tmp_path, wanting(engines), docker=docker, running=False).way == way
    # ... and stay there, whatever answers later: the data is there
    assert decide(tmp_path, wanting(), docker=not docker, running=False).way == way


def test_the_way_is_not_changed_in_silence(tmp_path: Path) -> None:
    """All messages would seem gone: they would be in the other way's data."""
    decide(tmp_path, wanting("native"), docker=False, running=False)
    with pytest.raises(StartError, match=r"infra\.engines: the engines in .* are native ones"):
        decide(tmp_path, wanting("docker"), docker=True, running=False)


def test_a_damaged_file_stops_the_start(tmp_path: Path) -> None:
    """A second set of engines would be made beside the first."""
    (tmp_path / "deployment.json").write_text("{")
    with pytest.raises(StartError, match=r"deployment\.json is none of"):
        known_deployment(tmp_path)
    assert known_deployment(tmp_path / "no") is None
    assert Deployment("native", 1) == Deployment("native", 1)


def test_two_commands_at_once_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two starts at once would make system tables in one directory."""
    monkeypatch.setattr("palaver.runtime.directory_lock.LOCK_SECONDS", 0.0)
    settings = Settings(data_dir=tmp_path / "data")
    with (
        held_directory(settings) as directory,
        pytest.raises(StartError, match="in use by another `palaver infra`"),
        held_directory(settings),
    ):
        pass
    assert directory == tmp_path / "data" / "infra"


def test_a_taken_port_names_engine_and_setting() -> None:
    """An operator would not know whose port is taken, nor how to choose another."""
    with (
        listening("127.0.0.1", 0) as taken,
        pytest.raises(StartError, match=r"\(mysql, infra\.first_port\): Address already in use"),
    ):
        check_ports("mysql", taken.getsockname()[1])
