"""A served auth."""

from collections.abc import AsyncIterator

import pytest

from tests.harness.auth_service import AuthApi, AuthHome


@pytest.fixture
async def auth_api(auth_home: AuthHome) -> AsyncIterator[AuthApi]:
    """A client of an auth of the test's own, on each engine."""
    async with auth_home.running() as auth_api:
        yield auth_api
