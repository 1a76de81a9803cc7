"""The registry: a fourth generation, and what takes the paths of none, without an edit elsewhere."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from palaver.contracts.errors import CONFLICT, PalaverError
from palaver.contracts.ids import new_id, text_from_id
from palaver.gateway.app import bare_app
from palaver.gateway.generations.not_found import NotFound
from palaver.gateway.generations.registry import FastAnswer, Generation, GenerationRegistry
from palaver.gateway.generations.served import served_generations
from palaver.gateway.generations.v2.socket import CodecV2
from palaver.gateway.http.error_shape import ErrorAnswer
from palaver.gateway.openapi import document_of_generation
from palaver.gateway.sockets.upgrade import HandshakeRequest, http_response
from palaver.gateway.sockets.websocket import text_frame
from palaver.runtime.http.errors import FieldError
from palaver.runtime.http.instrumentation import REQUESTS
from palaver.runtime.settings.gateway import GatewaySettings
from tests.harness.http_client import HttpResponse
from tests.harness.messenger_database import MessengerDatabase
from tests.harness.realtime import running_gateway, serving_replica
from tests.harness.scripted_upstreams import running_http_gateway
from tests.unit.gateway.http.test_errors import is_old_error, is_problem

SETTINGS = GatewaySettings()
UPGRADE = {
    "upgrade": "websocket",
    "connection": "Upgrade",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
}

router = APIRouter(prefix="/v9", tags=["v9"])


@router.post("/echo/{number}", summary="Echo")
async def echo(number: int, request: Request) -> Response:
    """The body, or a conflict where there is none."""
    body = await request.body()
    if not body:
        raise PalaverError(CONFLICT, "nothing to echo")
    return Response(body * number, media_type="text/plain")


def shout(error: PalaverError, fields: Sequence[FieldError], _trace_id: str) -> ErrorAnswer:
    """v9's errors: a line in capitals, and 418 for all of them."""
    named = " ".join([error.kind.code, *(field.field for field in fields)])
    return ErrorAnswer(418, "text/shout", named.upper().encode(), {"x-nine": "9"})


def fast_path(path: str, query: bytes) -> FastAnswer | None:
    """v9's one plain request."""

    async def respond(_request: Request) -> Response:
        return PlainTextResponse("fast")

    return FastAnswer("/v9/fast", respond) if (path, query) == ("/v9/fast", b"") else None


class CodecV9(CodecV2):
    """v2's frames, but for its first."""

    name = "v9"

    def hello(self, user_id: bytes, session_id: bytes, at: int) -> bytes:  # noqa: ARG002
        return text_frame(b"nine greets " + text_from_id(user_id).encode())


V9 = Generation(
    name="v9",
    tag={"name": "v9", "description": "For clients of the future."},
    router=router,
    errors=shout,
    error_schemas={"Shout": {"type": "string"}},
    prefixes=("/v9/",),
    requires_json=False,
    fast_path=fast_path,
    sockets={"/v9/live": CodecV9(SETTINGS)},
)


class Shop:
    """A fallback that takes what is below `/shop/`."""

    name = "shop"
    errors = staticmethod(shout)

    def owns(self, path: str) -> bool:
        return path.startswith("/shop/")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = await Request(scope, receive).body()
        await PlainTextResponse(f"{len(body)} bytes of {scope['path']}")(scope, receive, send)

    async def upgrade(self, request: HandshakeRequest) -> bytes:
        return http_response(409, request.path.encode(), "text/shop")


def with_nine() -> GenerationRegistry:
    """What is served, with v9 and the shop."""
    served = served_generations(SETTINGS)
    return GenerationRegistry([*served.generations, V9], [Shop(), NotFound()])


def said(answer: HttpResponse) -> tuple[int, str, str]:
    """Status, content type and body."""
    return answer.status, answer.headers["content-type"].partition(";")[0], answer.body.decode()


def requests_of(*labels: str) -> float:
    """How many requests were counted under these labels."""
    return float(REQUESTS.labels(*labels)._value.get())


@pytest.mark.asyncio(loop_scope="session")
async def test_a_fourth_generation_answers_in_its_own_shapes() -> None:
    """A new generation would need edits all over the gateway, and its clients get errors of another one."""
    counted = ("/v9/echo/{number}", "POST", "200", "v9"), ("unknown", "GET", "418", "v9")
    before = [requests_of(*labels) for labels in counted]
    async with running_http_gateway(with_nine()) as gateway:
        # Not declared as JSON, which v9 does not require
        echoed = await gateway.call("POST", "/v9/echo/2", b"ab", content_type="text/plain")
        assert said(echoed) == (200, "text/plain", "abab")
        assert said(await gateway.call("GET", "/v9/fast")) == (200, "text/plain", "fast")
        for method, path, text in (
            ("GET", "/v9/nothing", "NOT_FOUND"),
            ("DELETE", "/v9/echo/1", "METHOD_NOT_ALLOWED"),
            ("POST", "/v9/echo/x", "INVALID NUMBER"),
            ("POST", "/v9/echo/1", "CONFLICT"),
            ("GET", "/v9/live", "MALFORMED"),
        ):
            refused = await gateway.call(method, path)
            assert said(refused) == (418, "text/shout", text)
            assert refused.headers["x-nine"] == "9"
        is_old_error(await gateway.call("GET", "/messenger/nothing"), 404)
        is_problem(await gateway.call("GET", "/v2/nothing"), 404, "not_found")
    assert [requests_of(*labels) for labels in counted] == [count + 1 for count in before]


async def test_a_fourth_generation_opens_sockets_on_its_own_path(tmp_path: Path) -> None:
    """A new generation's sockets would need edits of the handshake, or be refused in another's shape."""
    messenger_db = MessengerDatabase(tmp_path)
    user = new_id()
    before = requests_of("/v9/live", "GET", "101", "v9"), requests_of("/v9/live", "GET", "418", "v9")
    async with (
        serving_replica(messenger_db) as (_, port),
        running_gateway(messenger_db.keys, port, with_nine()) as gateway,
        aiohttp.ClientSession() as session,
    ):
        async with session.ws_connect(gateway.url("/v9/live", messenger_db.keys.token(user))) as socket:
            assert await socket.receive_str(timeout=10) == f"nine greets {text_from_id(user)}"
        http = gateway.url("").replace("ws:", "http:")
        seen = []
        for path in ("/v9/live", "/v9/elsewhere", "/shop/live"):
            async with session.get(http + path, headers=UPGRADE) as answer:
                seen.append((answer.status, answer.content_type, await answer.text()))
        async with session.get(http + "/nowhere", headers=UPGRADE) as answer:
            assert (answer.status, answer.content_type) == (404, "application/problem+json")
    messenger_db.close()
    assert seen == [
        (418, "text/shout", "UNAUTHENTICATED"),
        (418, "text/shout", "NOT_FOUND"),
        (409, "text/shop", "/shop/live"),
    ]
    after = requests_of("/v9/live", "GET", "101", "v9"), requests_of("/v9/live", "GET", "418", "v9")
    assert after == (before[0] + 1, before[1] + 1)


def test_a_fourth_generation_is_in_the_openapi_document() -> None:
    """Whoever writes a client of a new generation would find nothing of it."""
    document = bare_app(SETTINGS, with_nine()).openapi()
    assert dict(V9.tag) in document["tags"]
    assert document["paths"]["/v9/echo/{number}"]["post"]["tags"] == ["v9"]
    assert document["components"]["schemas"]["Shout"] == {"type": "string"}
    own = document_of_generation(document, V9)
    assert (list(own["paths"]), own["info"]["version"]) == (["/v9/echo/{number}"], "v9")


@pytest.mark.asyncio(loop_scope="session")
async def test_a_fallback_takes_what_no_generation_owns_with_any_body() -> None:
    """A web client or an older service behind the gateway would get its forms and uploads refused."""
    async with running_http_gateway(with_nine(), body_bytes=2048) as gateway:
        body = b"x" * 4096
        taken = await gateway.call(
            "POST", "/shop/cart", body, content_type="application/x-www-form-urlencoded"
        )
        assert said(taken) == (200, "text/plain", "4096 bytes of /shop/cart")
        assert (await gateway.call("POST", "/v2/sessions", body)).status == 413
        assert (await gateway.call("GET", "/healthz")).status == 200
        nobody = await gateway.call("POST", "/elsewhere", body, content_type="text/plain")
        is_problem(nobody, 404, "not_found")


def test_paths_are_owned_by_whoever_names_them_most_closely() -> None:
    """v0's one path below v1's would answer in the wrong generation, and be counted as it."""
    registry = served_generations(SETTINGS)
    owners = {
        "/v2/chats": "v2",
        "/v2": "none",
        "/auth/user": "v0",
        "/auth/user/get-by-email": "v1",
        "/auth/users": "v1",
        "/questionnaires": "v0",
        "/ws": "v0",
        "/messenger/ws": "v1",
        "/docs/favicon.png": "none",
        "/elsewhere": "none",
    }
    assert {path: registry.name_of(path) for path in owners} == owners


@pytest.mark.parametrize(
    "other",
    [
        {"prefixes": ("/v2/",)},
        {"paths": frozenset(("/auth/user",))},
        {"sockets": {"/v2/ws": CodecV9(SETTINGS)}},
    ],
)
def test_two_generations_cannot_own_one_path(other: dict[str, Any]) -> None:
    """One of the two would be served nothing, and nobody would see why."""
    rival = Generation(name="v10", tag={"name": "v10"}, router=APIRouter(), errors=shout, **other)
    served = served_generations(SETTINGS)
    with pytest.raises(ValueError, match="two generations own"):
        GenerationRegistry([*served.generations, rival], [NotFound()])


def test_errors_of_a_path_that_is_not_text_do_not_break() -> None:
    """An answer that tells of a lone surrogate could not be encoded (the whole request would fail)."""
    error = PalaverError(CONFLICT, "\ud800")
    for path in ("/v2/chats", "/messenger/chats"):
        shown = served_generations(SETTINGS).owner_of(path).errors(error, (), "")
        assert "?" in str(msgspec.json.decode(shown.body))
