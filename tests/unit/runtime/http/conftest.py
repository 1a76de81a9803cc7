"""A client of the app that refuses."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from palaver.runtime.http.server import serving_http
from tests.unit.runtime.http.refusing_app import build_app


@pytest.fixture
async def rest() -> AsyncIterator[aiohttp.ClientSession]:
    """A client of a served app."""
    async with (
        serving_http(build_app(), "127.0.0.1", 0) as server,
        aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as client,
    ):
        yield client
