"""The public address of the file's shared Palaver."""

from collections.abc import AsyncIterator

import pytest

from tests.harness.palaver_process import Running
from tests.harness.users import Door, door_of


@pytest.fixture
async def door(shared_palaver: Running) -> AsyncIterator[Door]:
    """The way in for the test's own, fresh users."""
    async with door_of(shared_palaver) as found:
        yield found
