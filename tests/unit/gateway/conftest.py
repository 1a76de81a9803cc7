"""Fixtures of the gateway's HTTP tests."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
import structlog

from tests.harness.scripted_upstreams import GatewayClient, running_http_gateway

# structlog's own choice for terminals draws every variable of a traceback, which takes minutes
structlog.configure(
    processors=[structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()]
)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_gateway() -> AsyncIterator[GatewayClient]:
    """A gateway before scripted services, with default settings. One a test would take a minute to start."""
    async with running_http_gateway() as opened:
        yield opened


@pytest.fixture
def gateway(shared_gateway: GatewayClient) -> Iterator[GatewayClient]:
    """The one gateway, its scripts empty. Tests that use it run on its loop: see each file's `pytestmark`."""
    yield shared_gateway
    shared_gateway.reset()
