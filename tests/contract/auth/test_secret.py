"""Auth's private REST to callers that do not belong to the deployment."""

from pathlib import Path

import aiohttp
import pytest
from fastapi.routing import APIRoute

from palaver.auth import rest
from palaver.auth.bootstrap import serve
from palaver.runtime.deployment_secret import HEADER
from palaver.runtime.http.rest_client import RestClient
from tests.harness.auth_service import AuthApi, AuthHome, settings_of
from tests.harness.inside import SECRET
from tests.harness.services import running_service

ROUTES = [
    (method, route.path)
    for router in (rest.users, rest.sessions, rest.system)
    for route in router.routes
    if isinstance(route, APIRoute)
    for method in sorted(route.methods)
]
ODD = [("GET", "/"), ("GET", "/nothing"), ("POST", "/readyz/"), ("GET", "/openapi.json")]
ODD += [("GET", "//healthz"), ("GET", "/healthz/../users/me"), ("OPTIONS", "/users"), ("GET", "/HEALTHZ")]


@pytest.fixture
def auth_home(tmp_path: Path) -> AuthHome:
    """On one engine: what is refused comes to none."""
    return AuthHome(tmp_path)


@pytest.mark.parametrize("secret", ["", "x" * 32, SECRET[:-1]], ids=["none", "another", "a part"])
@pytest.mark.parametrize(("method", "path"), [*ROUTES, *ODD])
async def test_without_the_secret_every_route_refuses(
    auth_api: AuthApi, method: str, path: str, secret: str
) -> None:
    """Whoever reaches the port could sign up and sign in without a limit, by naming addresses."""
    refused = await auth_api.call(method, path, headers={HEADER: secret}, json={})
    assert (refused.status, refused.headers["content-type"]) == (401, "application/problem+json"), refused
    assert refused.headers["www-authenticate"] == "Palaver-Secret"
    assert refused.json["detail"] == "the deployment's secret is needed"


async def test_nothing_is_done_without_it(auth_api: AuthApi) -> None:
    """A refusal behind the work would be none."""
    email = "nobody@example.org"
    assert (await auth_api.sign_up(email, headers={HEADER: "x" * 32})).status == 401
    assert (await auth_api.sign_up(email)).status == 201


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_health_and_metrics_need_none(auth_api: AuthApi, path: str) -> None:
    """Supervisors and Prometheus would take a service that works for a dead one."""
    assert (await auth_api.call("GET", path, headers={HEADER: ""})).status == 200


async def test_a_unix_socket_leaves_health_alone_on_the_port(tmp_path: Path) -> None:
    """`palaver up` would leave REST on a port that every user of the machine can reach."""
    path = tmp_path / "auth.sock"
    async with running_service(serve, settings_of(tmp_path, socket=str(path))) as (_, (port,)):
        client = RestClient(f"unix:{path}", secret=SECRET)
        assert b"keys" in await client.call("GET", "/.well-known/jwks.json")
        assert b"true" in await client.call("GET", "/readyz")
        await client.close()
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            for there in ("/healthz", "/readyz", "/metrics"):
                async with session.get(there) as response:
                    assert response.status == 200
            for method, missing in ROUTES:
                async with session.request(method, missing, headers={HEADER: SECRET}) as response:
                    assert response.status == 404
    assert not path.exists()
