"""One Palaver for a file's tests, its services in this process. Each test makes its own users."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.harness.services import Whole, running_whole
from tests.harness.users import ApiClient, api_client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def whole(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async with running_whole(tmp_path_factory.mktemp("whole"), drain_seconds=2.0) as whole:
        yield whole


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(whole: Whole) -> AsyncIterator[ApiClient]:
    async with api_client(whole) as api:
        yield api
