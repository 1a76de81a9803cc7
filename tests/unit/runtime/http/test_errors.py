"""How private REST says errors."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict
from structlog.testing import capture_logs

from palaver.contracts.errors import CATALOGUE, RATE_LIMITED, UNAVAILABLE, PalaverError
from palaver.runtime.http.errors import Guarded, answer_errors
from palaver.runtime.http.server import serving_http

BODY_BYTES = 1_000


class Form(BaseModel):
    """A body with one field."""

    model_config = ConfigDict(extra="forbid")

    password: str


def build_app() -> FastAPI:
    """One path for each way in which a request ends."""
    app = FastAPI()
    answer_errors(app)

    @app.post("/forms")
    async def take(form: Form) -> dict[str, int]:
        return {"length": len(form.password)}

    @app.get("/crash")
    async def crash() -> None:
        raise ZeroDivisionError("the secret of the crash")

    @app.get("/refuse/{code}")
    async def refuse(code: str) -> None:
        raise PalaverError(CATALOGUE[code], "a text", field="a.field", secret="a secret")

    @app.get("/wait")
    async def wait() -> None:
        raise PalaverError(RATE_LIMITED, retry_after=1.25)

    return app


@pytest.fixture
async def rest() -> AsyncIterator[aiohttp.ClientSession]:
    """A client of a served app."""
    async with (
        serving_http(Guarded(build_app(), BODY_BYTES), "127.0.0.1", 0) as server,
        aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as client,
    ):
        yield client


async def answer(rest: aiohttp.ClientSession, method: str, path: str, **body: Any) -> tuple[int, Any]:
    async with rest.request(method, path, **body) as found:
        return found.status, await found.json()


@pytest.mark.parametrize("code", CATALOGUE)
async def test_every_kind_has_its_status_and_text(rest: aiohttp.ClientSession, code: str) -> None:
    """The other service would take one error for another; what only logs may see stays behind."""
    told = {"code": code, "message": "a text", "field": "a.field"}
    assert await answer(rest, "GET", f"/refuse/{code}") == (CATALOGUE[code].http, told)


async def test_crash_is_internal_and_logged(rest: aiohttp.ClientSession) -> None:
    """Clients would learn of our insides, and operators of nothing."""
    with capture_logs() as logs:
        status, body = await answer(rest, "GET", "/crash")
    assert (status, body["code"]) == (500, "internal")
    assert "secret" not in str(body)
    failed = [line for line in logs if line["event"] == "request_failed"]
    assert len(failed) == 1
    assert isinstance(failed[0]["exc_info"], ZeroDivisionError)


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


async def test_chunked_body_is_bounded_too(rest: aiohttp.ClientSession) -> None:
    """A body without a length would fill the memory."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 100

    async with rest.post("/forms", data=chunks(), headers={"content-type": "application/json"}) as found:
        assert found.status == 413


async def test_full_body_arrives(rest: aiohttp.ClientSession) -> None:
    """Bodies in more than one piece would be cut."""
    assert await answer(rest, "POST", "/forms", json={"password": "x" * 900}) == (200, {"length": 900})


async def test_unknown_path_and_method(rest: aiohttp.ClientSession) -> None:
    """The other service would get an answer that it cannot read."""
    assert (await answer(rest, "GET", "/nowhere"))[1]["code"] == "not_found"
    assert (await answer(rest, "DELETE", "/forms"))[1]["code"] == "method_not_allowed"


async def test_half_of_a_request_is_none() -> None:
    """A peer that leaves in the middle would have done something else than it meant to."""
    said = [
        {"type": "http.request", "body": b'{"password": "x"}', "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Any:
        return said.pop(0)

    async def send(message: Any) -> None:
        pytest.fail(f"something was answered: {message}")

    async def app(*_: Any) -> None:
        pytest.fail("the app was called")

    await Guarded(app, BODY_BYTES)({"type": "http"}, receive, send)
    assert said == []
