"""One Palaver for a file's tests, its services in this process. Each test makes its own users."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.harness.services import PalaverServices, running_services
from tests.harness.users import ApiClient, api_client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def services(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PalaverServices]:
    async with running_services(tmp_path_factory.mktemp("services"), drain_seconds=2.0) as services:
        yield services


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(services: PalaverServices) -> AsyncIterator[ApiClient]:
    async with api_client(services) as api:
        yield api
