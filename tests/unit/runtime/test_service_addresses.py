"""The file that says where the services of `palaver up` listen."""

import stat
from pathlib import Path

import pytest

from palaver.runtime.service_addresses import FILE, ServiceAddresses, messenger_target, published_addresses
from palaver.runtime.settings import Settings
from palaver.runtime.startup import StartError

ADDRESSES = ServiceAddresses("http://a:1", "http://b:2", "http://c:3", "c:4", "http://a:5")


def test_addresses_are_there_while_services_run(tmp_path: Path) -> None:
    """`palaver trace --message` could not find the messenger of a `palaver up` on other ports."""
    settings = Settings(data_dir=tmp_path)
    with published_addresses(tmp_path, ADDRESSES):
        assert messenger_target(settings) == "c:4"
        assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
        assert [path.name for path in tmp_path.iterdir()] == [FILE]
    assert list(tmp_path.iterdir()) == []
    assert messenger_target(settings) == settings.gateway.messenger_target


def test_an_old_file_is_replaced(tmp_path: Path) -> None:
    """After a `kill -9` commands would ask services that are gone."""
    (tmp_path / FILE).write_text("old")
    with pytest.raises(StartError, match="it is none of `palaver up`"):
        messenger_target(Settings(data_dir=tmp_path))
    with published_addresses(tmp_path, ADDRESSES):
        assert messenger_target(Settings(data_dir=tmp_path)) == "c:4"


def test_a_directory_that_cannot_be_written_stops_the_start(tmp_path: Path) -> None:
    """`palaver up` would run, and its commands not find it."""
    with (
        pytest.raises(StartError, match="cannot write to data directory"),
        published_addresses(tmp_path / "none", ADDRESSES),
    ):
        pass
