"""What FastAPI's handlers raise, as responses."""

import aiohttp
import pytest
from structlog.testing import capture_logs

from tests.unit.runtime.http.refusing_app import BODY_BYTES, answer


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        (b'{"password": ', 400, "malformed", None),
        (b"\xff\xfe\xff", 400, "malformed", None),
        (b'{"password": 7}', 422, "invalid", "password"),
        (b"{}", 422, "invalid", "password"),
        (b"[]", 422, "invalid", "body"),
        (b"", 422, "invalid", "body"),
        (b'{"password": "x", "pasword": "y"}', 422, "invalid", "pasword"),
        (b'{"password": "x", "\\ud800": "y"}', 422, "invalid", "body"),
        (b'{"password": "%s"}' % (b"x" * BODY_BYTES), 413, "too_large", None),
    ],
)
async def test_bad_body_is_named(
    rest: aiohttp.ClientSession, body: bytes, status: int, code: str, field: str | None
) -> None:
    """Whoever writes a client would not know what is wrong with a request."""
    found, told = await answer(
        rest, "POST", "/forms", data=body, headers={"content-type": "application/json"}
    )
    assert (found, told["code"], told.get("field")) == (status, code, field)


async def test_values_are_not_told(rest: aiohttp.ClientSession) -> None:
    """A password in a wrong place would come back in the error, and get into logs."""
    with capture_logs() as logs:
        _, told = await answer(rest, "POST", "/forms", json={"password": ["hunter2"], "hunter3": "hunter4"})
    assert "hunter2" not in str(told) + str(logs)
    assert "hunter4" not in str(told) + str(logs)


async def test_unknown_path_and_method(rest: aiohttp.ClientSession) -> None:
    """The other service would get an answer that it cannot read."""
    assert (await answer(rest, "GET", "/nowhere"))[1]["code"] == "not_found"
    assert (await answer(rest, "DELETE", "/forms"))[1]["code"] == "method_not_allowed"
