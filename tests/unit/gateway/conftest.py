"""Fixtures of the gateway's HTTP tests."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
import structlog

from tests.harness.scripted_upstreams import Door, open_door

# structlog's own choice for terminals draws every variable of a traceback, which takes minutes
structlog.configure(
    processors=[structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()]
)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def one_door() -> AsyncIterator[Door]:
    """A gateway before scripted services, with default settings. One a test would take a minute to start."""
    async with open_door() as opened:
        yield opened


@pytest.fixture
def door(one_door: Door) -> Iterator[Door]:
    """The one gateway, its scripts empty. Tests that use it run on its loop: see each file's `pytestmark`."""
    yield one_door
    one_door.forget()
