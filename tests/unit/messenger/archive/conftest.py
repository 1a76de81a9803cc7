"""An archive of the test's own, on the cluster that all share."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.harness.archive import Archive, running_archive
from tests.harness.clickhouse import ClickHouseCluster
from tests.harness.messenger_database import MessengerDatabase


@pytest_asyncio.fixture
async def archive(messenger_db: MessengerDatabase, clickhouse: ClickHouseCluster) -> AsyncIterator[Archive]:
    """A journal with an archive behind it."""
    async with running_archive(messenger_db, clickhouse) as archive:
        yield archive
