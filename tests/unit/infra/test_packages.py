"""The programs of the engines."""

from pathlib import Path

import pytest

from palaver.infra import packages
from palaver.infra.packages import find_program, install_missing, program
from palaver.runtime.startup import StartError


def test_nothing_is_installed_where_all_is_there() -> None:
    """A start without a network, or without root, would fail though nothing is missing."""
    install_missing()


def test_what_is_missing_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An operator would have to find out which program belongs to which package."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(packages, "SERVER_PATHS", ())
    assert find_program("redis-cli") is None
    with pytest.raises(StartError, match=r"please install: redis-tools \(there is no redis-cli\)"):
        program("redis-cli")
    with pytest.raises(
        StartError, match=r"^please install: redis-tools \(there is no apt-get here to do it\)$"
    ):
        install_missing(["redis-cli"])
