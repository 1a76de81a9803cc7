"""Errors: the shape of each generation, and nothing of our own failures."""

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from palaver.contracts.errors import CATALOGUE, INTERNAL, PalaverError
from palaver.gateway.generations.served import served_generations
from palaver.gateway.http.errors import ErrorResponses
from palaver.runtime.settings.gateway import GatewaySettings
from tests.harness.scripted_upstreams import CHAT, GatewayClient
from tests.harness.tracing import TRACE, UNSAMPLED, recording

pytestmark = pytest.mark.asyncio(loop_scope="session")

PROBLEM_KEYS = {"type", "title", "status", "detail", "code"}


def is_problem(answer: Any, status: int, code: str) -> None:
    """Asserts that an answer is problem details of that code."""
    assert (answer.status, answer.json["code"], answer.json["status"]) == (status, code, status)
    assert answer.headers["content-type"] == "application/problem+json"
    assert PROBLEM_KEYS <= answer.json.keys() <= PROBLEM_KEYS | {"errors", "trace_id"}


def is_old_error(answer: Any, status: int) -> None:
    """Asserts that an answer is an error as v0 and v1 know it."""
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/json"
    assert answer.json.keys() == {"code", "message"}
    assert answer.json["code"] == 0
    assert answer.json["message"]


@pytest.mark.parametrize("kind", CATALOGUE.values(), ids=lambda kind: kind.code)
async def test_every_kind_has_both_shapes(kind: Any) -> None:
    """A client of either generation could not parse an error, or would not learn when to come back."""
    error = PalaverError(kind, "said", field="text", retry_after=1.2)
    errors = ErrorResponses(served_generations(GatewaySettings()))
    new, old = errors.respond(error, "/v2/chats"), errors.respond(error, "/messenger/chats")
    assert new.status_code == kind.http
    assert old.status_code == {422: 400, 415: 400}.get(kind.http, kind.http)
    assert new.headers["retry-after"] == old.headers["retry-after"] == "2"
    assert ("www-authenticate" in new.headers) == (kind.http == 401)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v2/nothing", 404, "not_found"),
        ("GET", "/v2/users/", 404, "not_found"),
        ("DELETE", "/v2/users", 405, "method_not_allowed"),
        ("GET", "/v2/ws", 400, "malformed"),
    ],
)
async def test_unknown_paths_are_problems(
    gateway: GatewayClient, method: str, path: str, status: int, code: str
) -> None:
    """A new client that misspells a path would get an answer that its error handling can't read."""
    is_problem(await gateway.call(method, path), status, code)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/messenger/nothing", 404),
        ("GET", "/auth/sign-in", 405),
        ("GET", "/social/", 404),
        ("POST", "/questionnaires", 404),
        ("GET", "/messenger/ws", 400),
        ("GET", "/messenger/messages?chat_id=no-uuid", 400),
        ("GET", "/messenger/messages", 400),
        ("GET", "/messenger/chats?limit=-1", 400),
        ("GET", "/messenger/chats?offset=99999999999999999999", 400),
    ],
)
async def test_old_paths_refuse_in_the_old_shape(
    gateway: GatewayClient, method: str, path: str, status: int
) -> None:
    """An old client would show its user a parse failure where the server said what was wrong."""
    is_old_error(await gateway.call(method, path), status)


async def test_405_names_every_method_of_the_path(gateway: GatewayClient) -> None:
    """A client that asks what a path takes would be told of the first route alone."""
    answer = await gateway.call("PUT", "/v2/users/me")
    is_problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, HEAD, PATCH"


async def test_wrong_fields_are_named(gateway: GatewayClient) -> None:
    """A form could not show which of its fields to mend."""
    answer = await gateway.call("POST", "/v2/sessions", {"email": 7, "pasword": "x"})
    is_problem(answer, 422, "invalid")
    assert {error["field"] for error in answer.json["errors"]} == {"email", "password", "pasword"}


async def test_what_a_service_refuses_arrives_as_it_was_meant(gateway: GatewayClient) -> None:
    """A rate limit of the messenger would look like a failure, and clients would not wait."""
    gateway.messenger.answers["GetChat"] = PalaverError(CATALOGUE["rate_limited"], "slowly", retry_after=2.5)
    answer = await gateway.call("GET", f"/v2/chats/{CHAT}")
    is_problem(answer, 429, "rate_limited")
    assert (answer.json["detail"], answer.headers["retry-after"]) == ("slowly", "3")


async def test_our_own_failures_are_told_to_nobody(
    gateway: GatewayClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stack trace or a message of ours in an answer would tell attackers of our insides."""

    def fail(_session_id: bytes) -> bool:
        raise RuntimeError("the secret of our insides")

    monkeypatch.setattr(gateway.services.revocations, "is_ended", fail)
    for path in ("/v2/chats", "/messenger/chats"):
        with capture_logs() as lines:
            answer = await gateway.call("GET", path)
        assert answer.status == 500
        assert b"secret" not in answer.body
        assert INTERNAL.title.encode() in answer.body
        assert [(line["event"], line["path"]) for line in lines] == [("request_failed", path)]


async def test_problems_and_their_lines_name_the_trace(
    gateway: GatewayClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user could report an error, and nobody find in the logs what had happened."""

    def fail(_session_id: bytes) -> bool:
        raise RuntimeError

    monkeypatch.setattr(gateway.services.revocations, "is_ended", fail)
    with recording() as recorded:
        refused = await gateway.call("GET", "/v2/users", token="", traceparent=UNSAMPLED)
        failed = await gateway.call("GET", "/v2/chats", traceparent=UNSAMPLED)
        old = await gateway.call("GET", "/messenger/chats", traceparent=UNSAMPLED)
    is_problem(refused, 401, "unauthenticated")
    assert refused.json["trace_id"] == failed.json["trace_id"] == TRACE
    assert [line["trace_id"] for line in recorded.lines if line["event"] == "request_failed"] == [
        TRACE,
        TRACE,
    ]
    assert [span.error for span in recorded.spans] == ["RuntimeError", "RuntimeError"]
    assert old.status == 500
    is_old_error(old, 500)
    assert old.headers["traceresponse"].startswith(f"00-{TRACE}-")


ODD_BODIES = [
    b"\xff\xfe\xfa",
    b"[1, 2",
    b"[]",
    b"null",
    b'"text"',
    b"1" * 5000,
    b"[" * 100_000,
    b'{"email": "\\ud800", "password": "x"}',
    b'{"\\udfff": 1}',
    b'{"email": "a\\u0000b@c.de", "password": "x"}',
    b'{"email": null, "password": [1e999]}',
    b'{"email": NaN, "password": {}}',
    '{"email": "\N{ARABIC-INDIC DIGIT ONE}"}'.encode(),
]


@pytest.mark.parametrize("body", ODD_BODIES, ids=range(len(ODD_BODIES)))
@pytest.mark.parametrize("path", ["/v2/sessions", "/auth/sign-in"])
async def test_odd_bodies_are_the_clients_mistake(gateway: GatewayClient, path: str, body: bytes) -> None:
    """Garbage from anybody would raise alarms as our failure, or break the answer that tells of it."""
    answer = await gateway.call("POST", path, body)
    assert answer.status in (400, 413, 422), answer.body
    assert answer.json["code"] in (0, "invalid", "malformed", "too_large")


ODD_PATHS = [
    "/v2/users?q=%00",
    "/v2/users?q=a&limit=99999999999999999999999",
    "/v2/users?q=a&limit=%D9%A1",
    "/v2/users?q=a&limit=1_0",
    "/v2/users?q=a&limit=+1",
    "/v2/users?q=a&limit=",
    "/v2/users",
    f"/v2/chats/{CHAT}/messages?after_seq=9223372036854775808",
    f"/v2/chats/{CHAT}/messages?before_seq=0",
    "/v2/chats/%00",
    "/v2/chats/%F0%9F%92%A9/messages",
    "/v2/chats/00000000-0000-0000-0000-00000000000%D9%A1",
    f"/v2/chats/{CHAT.hex}",
]


@pytest.mark.parametrize("path", ODD_PATHS)
async def test_odd_paths_and_queries_are_the_clients_mistake(gateway: GatewayClient, path: str) -> None:
    """A number or an id that only looks like one would reach the services, and fail there as ours."""
    is_problem(await gateway.call("GET", path), 422, "invalid")
    assert not gateway.messenger.calls


async def test_bytes_that_are_no_http_end_with_400(gateway: GatewayClient) -> None:
    """A raw byte in a path would crash the connection's task instead of being refused."""
    for path in (b"/v2/\xff\xfe", b"/v2/users?q=\xff"):
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(b"GET " + path + b" HTTP/1.1\r\nhost: x\r\n\r\n")
        status = await asyncio.wait_for(reader.readline(), 5)
        assert status.split()[1] in (b"400", b"401", b"404")
        writer.close()
        await writer.wait_closed()
