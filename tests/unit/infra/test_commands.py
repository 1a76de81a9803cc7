"""`palaver infra`, whichever way the engines run. Real engines are in tests/e2e."""

from pathlib import Path

import pytest

from palaver.infra import docker
from palaver.infra.commands import engine_statuses, run_command, start_engines, stop_engines
from palaver.infra.deployment import known_deployment
from palaver.infra.status import Say
from palaver.runtime.settings import Settings
from palaver.runtime.settings.infra import InfraSettings
from palaver.runtime.startup import StartError


def test_without_engines_that_is_said(tmp_path: Path) -> None:
    """An operator with a wrong directory would think that all is stopped."""
    settings = Settings(data_dir=tmp_path)
    for command in (
        lambda: engine_statuses(settings),
        lambda: stop_engines(settings, print),
        lambda: run_command(settings, ["migrate"]),
    ):
        with pytest.raises(StartError, match=r"there are no engines in .*: `palaver infra up` makes them"):
            command()
    assert list(tmp_path.iterdir()) == []


def test_where_docker_answers_engines_are_containers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator with Docker would get servers of Debian's packages on the machine itself."""
    started = []

    def start_all(directory: Path, _settings: Settings, _say: Say) -> Path:
        started.append(directory)
        return directory

    # No Docker engine runs where tests do
    monkeypatch.setattr(docker, "answers", lambda: True)
    monkeypatch.setattr(docker, "start_all", start_all)
    start_engines(Settings(data_dir=tmp_path, infra=InfraSettings()), print)
    assert started == [tmp_path / "infra"]
    known = known_deployment(tmp_path / "infra")
    assert known is not None
    assert known.way == "docker"
    # A second deployment on the machine has other containers and volumes
    assert known.project.startswith("palaver-")
