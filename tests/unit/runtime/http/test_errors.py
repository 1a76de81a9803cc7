"""How private REST renders errors."""

import aiohttp
import pytest
from structlog.testing import capture_logs

from palaver.contracts.errors import CATALOGUE, UNAVAILABLE
from tests.unit.runtime.http.refusing_app import answer


@pytest.mark.parametrize("code", CATALOGUE)
async def test_every_kind_has_its_status_and_text(rest: aiohttp.ClientSession, code: str) -> None:
    """The other service would take one error for another; what only logs may see stays behind."""
    told = {"code": code, "message": "a text", "field": "a.field"}
    assert await answer(rest, "GET", f"/refuse/{code}") == (CATALOGUE[code].http, told)


async def test_what_is_away_is_a_warning(rest: aiohttp.ClientSession) -> None:
    """Operators would not see that a part of the service is away."""
    with capture_logs() as logs:
        await answer(rest, "GET", f"/refuse/{UNAVAILABLE.code}")
    assert [line["log_level"] for line in logs if line["event"] == "request_refused"] == ["warning"]


async def test_wait_is_told_in_body_and_header(rest: aiohttp.ClientSession) -> None:
    """Clients would come back at once, and be refused again."""
    async with rest.get("/wait") as found:
        assert found.status == 429
        assert found.headers["retry-after"] == "2"
        assert (await found.json())["retry_after"] == 1.25
