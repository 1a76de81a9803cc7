"""What every request passes: sizes, content types, CORS, whose address it is."""

import asyncio
import re
from typing import Any

import pytest

from palaver.gateway.app import bare_app
from palaver.gateway.generations.served import served_generations
from palaver.runtime.http.instrumentation import REQUESTS
from palaver.runtime.settings.gateway import GatewaySettings
from tests.harness.http_client import HttpResponse
from tests.harness.scripted_upstreams import CHAT, TOKEN_PAIR, GatewayClient, running_http_gateway
from tests.harness.waiting import eventually
from tests.unit.gateway.http.test_errors import is_old_error, is_problem

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAIR = {"email": "bob@email.com", "password": "1234567890"}


async def test_a_body_that_says_it_is_too_large_is_refused() -> None:
    """Anybody could fill the gateway's memory with one request."""
    async with running_http_gateway(body_bytes=2048) as gateway:
        body = b"x" * 2049
        is_problem(await gateway.call("POST", "/v2/sessions", body), 413, "too_large")
        is_old_error(await gateway.call("POST", "/auth/sign-in", body), 413)


async def test_a_body_without_length_is_counted() -> None:
    """A chunked body would pass the limit by not saying its length."""
    async with running_http_gateway(body_bytes=2048) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        head = b"POST /v2/sessions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        writer.write(head + b"transfer-encoding: chunked\r\n\r\n" + b"400\r\n" + b" " * 1024 + b"\r\n")
        writer.write((b"400\r\n" + b" " * 1024 + b"\r\n") * 2)
        status = await asyncio.wait_for(reader.readline(), 5)
        assert status.split()[1] == b"413"
        writer.close()
        await writer.wait_closed()


async def test_a_body_of_the_limit_is_taken() -> None:
    """The largest allowed request would be refused."""
    async with running_http_gateway(body_bytes=2048) as gateway:
        gateway.auth.answers["POST /sessions"] = (201, TOKEN_PAIR)
        body = b'{"email": "bob@email.com", "password": "1234567890"}'
        answer = await gateway.call("POST", "/v2/sessions", body + b" " * (2048 - len(body)))
        assert answer.status == 201


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "x", ""])
async def test_v2_takes_json_alone(gateway: GatewayClient, content_type: str) -> None:
    """A form of a foreign page could make a browser send requests without asking first."""
    answer = await gateway.call("POST", "/v2/sessions", PAIR, content_type=content_type)
    is_problem(answer, 415, "unsupported_data")


@pytest.mark.parametrize(
    "content_type", ["application/json", "APPLICATION/JSON; charset=utf-8", "application/merge-patch+json"]
)
async def test_v2_takes_json_by_all_its_names(gateway: GatewayClient, content_type: str) -> None:
    """Clients whose library adds a charset would be refused."""
    gateway.auth.answers["POST /sessions"] = (201, TOKEN_PAIR)
    assert (await gateway.call("POST", "/v2/sessions", PAIR, content_type=content_type)).status == 201


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/plain", ""])
async def test_old_clients_say_any_content_type(gateway: GatewayClient, content_type: str) -> None:
    """Old clients that never set the header, which the original did not read, could not sign in."""
    gateway.auth.answers["POST /sessions"] = (201, TOKEN_PAIR)
    answer = await gateway.call("POST", "/auth/sign-in", PAIR, content_type=content_type)
    assert (answer.status, answer.body) == (200, b'{"access_token":"a.b.c","refresh_token":"refresh"}')


async def test_a_trusted_proxy_tells_the_clients_address() -> None:
    """Behind a proxy all clients would share one rate limit, and one could shut out all."""
    async with running_http_gateway(trusted_proxies=["127.0.0.1"]) as gateway:
        gateway.auth.answers["POST /sessions"] = (201, TOKEN_PAIR)
        for named, kept in (
            ("203.0.113.7", "203.0.113.7"),
            ("198.51.100.1, 203.0.113.7:567", "203.0.113.7"),
            ("<script>alert(1)</script>", "127.0.0.1"),
        ):
            await gateway.call("POST", "/v2/sessions", PAIR, x_forwarded_for=named, user_agent="Fön/1 x")
            headers = gateway.auth.calls[-1].headers
            assert headers["x-client-address"] == kept
            assert headers["x-client-agent"] == "Fn/1 x"


@pytest.mark.parametrize("trusted", [[], ["192.0.2.1"]])
async def test_anybody_elses_word_on_addresses_is_not_believed(trusted: list[str]) -> None:
    """A client could choose a new address for each guess of a password."""
    async with running_http_gateway(trusted_proxies=trusted) as gateway:
        gateway.auth.answers["POST /sessions"] = (201, TOKEN_PAIR)
        await gateway.call("POST", "/v2/sessions", PAIR, x_forwarded_for="203.0.113.7")
        assert gateway.auth.calls[-1].headers["x-client-address"] == "127.0.0.1"


async def test_cors_is_off_unless_set(gateway: GatewayClient) -> None:
    """Pages of any site could read answers."""
    answer = await gateway.call("GET", "/healthz", origin="https://app.example")
    assert "access-control-allow-origin" not in answer.headers


async def test_cors_covers_refusals_too() -> None:
    """A browser would hide from its page why a request was refused."""
    async with running_http_gateway(cors_origins=["https://app.example"]) as gateway:
        answer = await gateway.call("GET", "/v2/users/me", token="", origin="https://app.example")
        assert answer.status == 401
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        other = await gateway.call("GET", "/healthz", origin="https://other.example")
        assert "access-control-allow-origin" not in other.headers
        asked = await gateway.call(
            "OPTIONS",
            "/v2/chats",
            origin="https://app.example",
            access_control_request_method="POST",
            access_control_request_headers="authorization, content-type, idempotency-key, traceparent",
        )
        assert asked.status == 200
        assert "traceresponse" in answer.headers["access-control-expose-headers"]


async def test_requests_are_counted_with_few_labels(gateway: GatewayClient) -> None:
    """Made-up methods and paths would grow the metrics without end."""
    before = requests_of("/v2/users", "other", 405, "v2"), requests_of("unknown", "GET", 404, "v1")
    await gateway.call("PROPFIND", "/v2/users")
    await gateway.call("GET", "/auth/made-up")
    after = requests_of("/v2/users", "other", 405, "v2"), requests_of("unknown", "GET", 404, "v1")
    assert after == (before[0] + 1, before[1] + 1)


def requests_of(*labels: Any) -> float:
    """How many requests were counted under these labels."""
    return float(REQUESTS.labels(*labels)._value.get())


@pytest.mark.parametrize(
    ("method", "path", "status", "route"),
    [
        ("GET", f"/v2/chats/{CHAT}/messages?limit=5", 401, "/v2/chats/{chat_id}/messages"),
        ("GET", f"/v2/chats/{CHAT}/messages?limit=5&way=documented", 401, "/v2/chats/{chat_id}/messages"),
        ("DELETE", f"/v2/chats/{CHAT}/messages/3", 401, "/v2/chats/{chat_id}/messages/{seq}"),
        ("GET", f"/messenger/messages?chat_id={CHAT}", 401, "/messenger/messages"),
        ("PUT", "/auth/token", 400, "/auth/token"),
    ],
)
async def test_requests_are_counted_by_the_route(
    gateway: GatewayClient, method: str, path: str, status: int, route: str
) -> None:
    """Each chat would be a metric of its own; or an operator could not tell which operation is slow."""
    generation = "v2" if path.startswith("/v2") else "v1"
    before = requests_of(route, method, status, generation)
    assert (await gateway.call(method, path, b"no JSON", token="")).status == status
    assert requests_of(route, method, status, generation) == before + 1


async def test_each_route_is_of_the_generation_that_its_path_says() -> None:
    """Requests of old clients would be counted as somebody else's, and their generation switched off."""
    settings = GatewaySettings()
    registry = served_generations(settings)
    for path, operations in bare_app(settings, registry).openapi()["paths"].items():
        for operation in operations.values():
            generation = registry.name_of(path)
            assert operation["tags"] == ["operations" if generation == "none" else generation]


async def test_requests_of_an_address_are_limited() -> None:
    """One address would keep the services behind the gateway busy, in the names of as many users as it
    likes."""
    slow = {"requests_per_second": 0.01, "requests_burst": 2, "trusted_proxies": ["127.0.0.1"]}
    async with running_http_gateway(rates=True, **slow) as gateway:
        gateway.auth.answers["POST /sessions"] = (201, TOKEN_PAIR)

        async def sign_in(path: str, address: str) -> HttpResponse:
            return await gateway.call("POST", path, PAIR, **{"x-forwarded-for": address})

        for _ in range(2):
            assert (await sign_in("/v2/sessions", "192.0.2.1")).status == 201
        refused = await sign_in("/v2/sessions", "192.0.2.1")
        is_problem(refused, 429, "rate_limited")
        assert int(refused.headers["retry-after"]) >= 1
        is_old_error(await sign_in("/auth/sign-in", "192.0.2.1"), 429)
        assert (await sign_in("/v2/sessions", "192.0.2.2")).status == 201
        for _ in range(3):
            assert (await gateway.call("GET", "/healthz", **{"x-forwarded-for": "192.0.2.1"})).status == 200


PROTECTED = ["cache-control", "content-security-policy", "referrer-policy", "x-content-type-options"]
PATHS = [
    "/healthz",
    "/readyz",
    "/",
    "/docs",
    "/docs/start.js",
    "/docs/swagger-ui-bundle.js",
    "/docs/favicon.png",
    "/swagger/index.html",
    "/openapi.json",
    "/nowhere",
    "/v2/nowhere",
    "/v2/ws",
    "/v2/users/me",
    "/v2/chats",
    f"/v2/chats/{CHAT}/messages",
    f"/v2/chats/{CHAT}/messages?limit=1",
    f"/v2/chats/{CHAT}/messages?limit=x",
    f"/messenger/messages?chat_id={CHAT}",
    "/messenger/chats",
    "/auth/user/get-by-token",
    "/auth/sign-in",
    "/v2/sessions/refresh",
]


@pytest.mark.parametrize("path", PATHS)
async def test_a_head_is_answered_as_the_get_without_its_body(gateway: GatewayClient, path: str) -> None:
    """Monitors and link checkers, which ask by HEAD, would take what works for broken."""

    async def are_same() -> bool:
        seen = []
        for method in ("GET", "HEAD"):
            answer = await gateway.call(method, path)
            headers = {
                name: value
                for name, value in answer.headers.items()
                if name not in ("date", "traceresponse", "transfer-encoding")
                # An error's body has the id of its trace, where one is kept
                and not (name == "content-length" and answer.status >= 400)
            }
            seen.append((answer.status, headers))
            assert bool(answer.body) == (method == "GET" and answer.status // 100 != 3)
        return seen[0] == seen[1]

    # Not at once where the gateway gets ready between the two
    await eventually(are_same, f"the same at {path}", 5)


async def test_a_head_is_counted_as_one_and_stands_in_no_document(gateway: GatewayClient) -> None:
    """Operators could not tell monitors from clients, and generated clients would get methods twice."""
    before = REQUESTS.labels("/healthz", "HEAD", 200, "none")._value.get()
    await gateway.call("HEAD", "/healthz")
    assert REQUESTS.labels("/healthz", "HEAD", 200, "none")._value.get() == before + 1
    document = (await gateway.call("GET", "/openapi.json")).json
    assert not [path for path, operations in document["paths"].items() if "head" in operations]


async def test_a_head_of_what_has_no_get_names_what_there_is(gateway: GatewayClient) -> None:
    """A client would take a path that exists for one that does not."""
    answer = await gateway.call("HEAD", "/v2/sessions/refresh")
    assert (answer.status, answer.headers["allow"]) == (405, "DELETE, POST")
    assert (await gateway.call("DELETE", "/v2/chats")).headers["allow"] == "GET, HEAD, POST"


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "TRACE", "DELETE"])
@pytest.mark.parametrize("path", PATHS)
async def test_every_response_keeps_browsers_and_caches_off_it(
    gateway: GatewayClient, method: str, path: str
) -> None:
    """A page of somebody else could frame it, or a cache could hand one user's tokens to another."""
    headers = (await gateway.call(method, path)).headers
    assert [name for name in PROTECTED if name not in headers] == []
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")
    if not path.startswith("/docs/"):
        assert headers["cache-control"] == "no-store"


async def test_responses_with_tokens_are_kept_by_nobody(gateway: GatewayClient) -> None:
    """A shared cache, or the browser's disk, would have the key to an account."""
    gateway.auth.answers["POST /sessions"] = (201, TOKEN_PAIR)
    gateway.auth.answers["POST /sessions/refresh"] = (200, TOKEN_PAIR)
    for method, path, body in (
        ("POST", "/v2/sessions", PAIR),
        ("POST", "/v2/sessions/refresh", {"refresh_token": "a"}),
        ("POST", "/auth/sign-in", PAIR),
        ("PUT", "/auth/token", {"refresh_token": "a"}),
    ):
        answer = await gateway.call(method, path, body)
        assert b"a.b.c" in answer.body, (path, answer.body)
        assert answer.headers["cache-control"] == "no-store"


async def test_a_refusal_of_a_page_of_another_site_has_them_too() -> None:
    """CORS answers preflights itself, before all else."""
    async with running_http_gateway(cors_origins=["https://app.example"]) as gateway:
        preflight = await gateway.call(
            "OPTIONS", "/v2/chats", origin="https://other.example", access_control_request_method="POST"
        )
        assert [name for name in PROTECTED if name not in preflight.headers] == []


async def test_the_documentation_runs_its_own_files_alone(gateway: GatewayClient) -> None:
    """The page would stay empty under its policy, or run what somebody put into it."""
    page = await gateway.call("GET", "/docs")
    policy = page.headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "unsafe-inline" not in policy.partition("style-src")[0]
    assert b"<script>" not in page.body
    for name in re.findall(rb'(?:src|href)="([^"]+)"', page.body):
        asset = await gateway.call("GET", "/" + name.decode())
        assert asset.status == 200
        if name.endswith(b".js"):
            assert "javascript" in asset.headers["content-type"]
