"""A served auth."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.harness.auth_service import AuthApi, running_auth


@pytest.fixture
async def auth_api(tmp_path: Path) -> AsyncIterator[AuthApi]:
    """A client of an auth of the test's own."""
    async with running_auth(tmp_path) as auth_api:
        yield auth_api
