"""The health of a private service."""

from typing import Any

import aiohttp
from starlette.applications import Starlette

from palaver.runtime.http.health import NO_CHECKS, health_routes
from palaver.runtime.http.instrumentation import RequestInstrumentation
from palaver.runtime.http.server import serving_http


async def get(checks: Any, path: str, dispensable: Any = NO_CHECKS) -> tuple[int, Any]:
    """Status and body of one request."""
    routes = health_routes(checks, dispensable)
    app = RequestInstrumentation(Starlette(routes=routes), is_edge=False, access_log=False)
    async with (
        serving_http(app, "127.0.0.1", 0) as server,
        aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as client,
        client.get(path) as found,
    ):
        is_json = found.content_type == "application/json"
        return found.status, await found.json() if is_json else await found.text()


async def passes() -> bool:
    return True


async def fails() -> bool:
    return False


async def test_failing_checks_are_named() -> None:
    """An operator would know that a service cannot serve, and not why."""
    checks = {"database": fails, "auth": passes, "signing key": fails}
    assert await get(checks, "/readyz") == (
        503,
        {
            "ready": False,
            "failing": ["database", "signing key"],
            "code": "unavailable",
            "message": "failing: database, signing key",
        },
    )
    assert await get({"auth": passes}, "/readyz") == (200, {"ready": True, "failing": []})


async def test_what_a_service_can_do_without_is_named_too() -> None:
    """All replicas would be taken out of service for a Redis that is away, or nobody would see that it is."""
    assert await get({"journal": passes}, "/readyz", {"redis": fails}) == (
        200,
        {"ready": True, "failing": ["redis"]},
    )
    status, body = await get({"journal": fails}, "/readyz", {"redis": fails})
    assert (status, body["failing"]) == (503, ["journal", "redis"])


async def test_alive_whatever_fails() -> None:
    """A supervisor would restart a service that only waits for another one."""
    assert await get({"database": fails}, "/healthz") == (200, {"alive": True})


async def test_numbers_name_the_route() -> None:
    """Health checks would hide in the numbers of unknown paths, which show who scans the service."""
    assert (await get({}, "/readyz"))[0] == 200
    status, numbers = await get({}, "/metrics")
    assert status == 200
    assert 'palaver_http_requests_total{generation="none",method="GET",route="/readyz"' in numbers
