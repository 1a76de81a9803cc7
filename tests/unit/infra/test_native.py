"""The engines as native processes. Real ones are in tests/e2e."""

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from palaver.infra.engine import NotReadyError, Place
from palaver.infra.native import bytes_in, start, wait_ready
from palaver.infra.topology import Address
from palaver.runtime.startup import StartError


@dataclass(frozen=True, slots=True)
class DyingEngine:
    """An engine that prints why it can't start."""

    place: Place
    stop_seconds: float = 1.0

    def prepare(self) -> list[str]:
        """See `Engine`."""
        return [sys.executable, "-c", "print('first'); print('disk is on fire'); raise SystemExit(3)"]

    def installed_version(self) -> str:
        """See `Engine`."""
        return "1.0"

    def ask_version(self) -> str:
        """See `Engine`."""
        raise NotReadyError("nobody is there")


def test_an_engine_that_dies_says_why(tmp_path: Path) -> None:
    """An operator would wait two minutes for a line that says nothing."""
    engine = DyingEngine(Place("mysql", tmp_path / "mysql", Address("127.0.0.1", 1)))
    engine.place.make_directories()
    engine.place.log_file.write_text("of an earlier start\n")
    with pytest.raises(StartError) as caught:
        wait_ready(engine, start(engine, engine.prepare()))
    assert str(caught.value) == (
        f"mysql ended with code 3; {engine.place.log_file} ends with: disk is on fire"
    )


def test_the_size_of_data_is_that_on_disk(tmp_path: Path) -> None:
    """An operator would buy disks for files that are mostly holes."""
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(2**30)
    (tmp_path / "full").write_bytes(b"x" * 100_000)
    assert 100_000 <= bytes_in(tmp_path) < 2**20
    assert bytes_in(tmp_path / "missing") == 0
