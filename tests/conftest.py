"""Fixtures that more than one kind of test uses."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.clickhouse import ClickHouseCluster, running_clickhouse
from tests.harness.messenger_database import MessengerDatabase
from tests.harness.palaver_process import PalaverProcess, running_palaver


@pytest.fixture
def palaver(tmp_path: Path) -> Iterator[PalaverProcess]:
    """A Palaver of the test's own, without rate limits."""
    with running_palaver(tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def shared_palaver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PalaverProcess]:
    """One Palaver for a file's tests, without rate limits. They may not stop it, nor expect it empty."""
    with running_palaver(tmp_path_factory.mktemp("palaver")) as running:
        yield running


@pytest.fixture
def messenger_db(tmp_path: Path) -> Iterator[MessengerDatabase]:
    """A database to make chats in, beside what a test runs on it."""
    messenger_db = MessengerDatabase(tmp_path)
    yield messenger_db
    messenger_db.close()


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseCluster]:
    """A cluster of two shards that all tests share. They may not stop its nodes."""
    with running_clickhouse(tmp_path_factory.mktemp("clickhouse"), shards=2) as cluster:
        yield cluster
