"""What every request passes: the error boundary, and the limit of bodies."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs

from palaver.contracts.errors import UNAVAILABLE, PalaverError
from palaver.runtime.http.errors import render_wire_error
from palaver.runtime.http.middleware import ErrorBoundary
from tests.unit.runtime.http.refusing_app import BODY_BYTES, answer, build_app

FORM_REQUEST: dict[str, Any] = {
    "type": "http",
    "method": "POST",
    "path": "/forms",
    "raw_path": b"/forms",
    "query_string": b"",
    "root_path": "",
    "scheme": "http",
    "headers": [(b"content-type", b"application/json")],
}


async def test_crash_is_internal_and_logged(rest: aiohttp.ClientSession) -> None:
    """Clients would learn of our insides, and operators of nothing."""
    with capture_logs() as logs:
        status, body = await answer(rest, "GET", "/crash")
    assert (status, body["code"]) == (500, "internal")
    assert "secret" not in str(body)
    failed = [line for line in logs if line["event"] == "request_failed"]
    assert len(failed) == 1
    assert isinstance(failed[0]["exc_info"], ZeroDivisionError)


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


async def test_half_of_a_request_is_none() -> None:
    """A peer that leaves in the middle would have done something else than it meant to."""
    messages = [
        {"type": "http.request", "body": b'{"password": "x"}', "more_body": True},
        {"type": "http.disconnect"},
    ]
    statuses = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await build_app()(FORM_REQUEST, receive, send)
    assert messages == []
    assert statuses in ([], [400])


@pytest.mark.parametrize(("length", "status"), [(BODY_BYTES, 422), (BODY_BYTES + 1, 413), (10**19, 413)])
async def test_an_announced_length_is_enough_to_refuse(length: int, status: int) -> None:
    """A body that is too large would be received in full before it is refused."""
    body = b"[]" + b" " * (BODY_BYTES - 2)
    statuses = []

    async def receive() -> Any:
        assert status != 413, "the body was read"
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    headers = [*FORM_REQUEST["headers"], (b"content-length", b"%d" % length)]
    await build_app()({**FORM_REQUEST, "headers": headers}, receive, send)
    assert statuses == [status]


async def test_a_refusal_of_a_middleware_is_logged() -> None:
    """Histories that skip the router would fail without a line in the log."""

    async def app(*_: Any) -> None:
        raise PalaverError(UNAVAILABLE, "away", cause="connection refused")

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    with capture_logs() as logs:
        await ErrorBoundary(app, render_wire_error)({"type": "http", "path": "/chats"}, receive_nothing, send)
    assert [message.get("status") for message in sent] == [503, None]
    assert [(line["event"], line["path"], line["code"]) for line in logs] == [
        ("request_refused", "/chats", "unavailable")
    ]


async def test_a_failure_behind_the_first_byte_cuts_the_connection() -> None:
    """A client would take half of a history for all of it."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ZeroDivisionError

    async def send(message: Any) -> None:
        assert message["status"] == 200

    request = {"type": "http", "path": "/chats", "method": "GET"}
    with pytest.raises(ZeroDivisionError), capture_logs():
        await ErrorBoundary(app, render_wire_error)(request, receive_nothing, send)


async def receive_nothing() -> Any:
    pytest.fail("the body was read")
