"""A served auth."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.harness.auth_service import Rest, serving


@pytest.fixture
async def rest(tmp_path: Path) -> AsyncIterator[Rest]:
    """A client of an auth of the test's own."""
    async with serving(tmp_path) as rest:
        yield rest
