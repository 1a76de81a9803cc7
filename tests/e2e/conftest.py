"""The public address of the file's shared Palaver."""

from collections.abc import AsyncIterator

import pytest

from tests.harness.palaver_process import PalaverProcess
from tests.harness.users import ApiClient, api_client


@pytest.fixture
async def api(shared_palaver: PalaverProcess) -> AsyncIterator[ApiClient]:
    """The way in for the test's own, fresh users."""
    async with api_client(shared_palaver) as found:
        yield found
