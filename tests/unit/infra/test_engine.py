"""What each native engine is to the commands."""

import os
from pathlib import Path

import pytest

from palaver.infra.engine import Place, check_owner, check_version, note_version, numbers_of, version_in
from palaver.infra.topology import Address
from palaver.runtime.startup import StartError


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """An engine's directory."""
    found = Place("mysql", tmp_path, Address("127.0.0.1", 1))
    found.make_directories()
    return found


@pytest.mark.parametrize(
    ("written", "installed", "same_series"),
    [("10.11.6", "10.11.19", True), ("18.16.1", "25.8.1", False), ("7.0.1", "7.0.15", False)],
)
def test_a_release_that_can_read_the_data_starts(
    place: Place, written: str, installed: str, same_series: bool
) -> None:
    """A security update would stop the deployment."""
    note_version(place, written)
    check_version(place, installed, same_series=same_series)
    note_version(place, installed)
    check_version(place, installed, same_series=True)


@pytest.mark.parametrize(
    ("written", "installed", "same_series"),
    [("10.11.6", "11.8.1", True), ("10.11.6", "10.5.1", True), ("25.8.1", "18.16.1", False)],
)
def test_another_release_is_named_before_it_writes(
    place: Place, written: str, installed: str, same_series: bool
) -> None:
    """It would rewrite system tables so that the right release can't read them any more."""
    note_version(place, written)
    with pytest.raises(StartError, match=f"is of version {written}, and {installed} is installed"):
        check_version(place, installed, same_series=same_series)


def test_a_first_start_has_no_version_yet(place: Place) -> None:
    """Nothing could ever be started."""
    check_version(place, "1.0", same_series=True)


def test_versions_are_found_in_what_programs_print() -> None:
    """A data directory would be refused for the word around a number."""
    assert version_in("Redis server v=7.0.15 sha=00000000:0") == "7.0.15"
    assert version_in("18.16.1+ds-7.3+b2") == "18.16.1"
    assert numbers_of("10.11.19") == (10, 11)
    assert numbers_of("damaged") == ()


def test_a_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    """Files of two users in one directory would keep both from starting."""
    check_owner(tmp_path, os.geteuid())
    check_owner(tmp_path / "missing", os.geteuid())
    with pytest.raises(StartError, match=rf"directory {tmp_path} is of user "):
        check_owner(tmp_path, os.geteuid() + 1)
