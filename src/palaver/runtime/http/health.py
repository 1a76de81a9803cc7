"""The health of a private service: `/healthz`, `/readyz` with named checks, and `/metrics`."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from palaver.contracts.errors import UNAVAILABLE
from palaver.runtime.http.errors import render_wire_error
from palaver.runtime.http.instrumentation import set_route
from palaver.runtime.http.middleware import BodyLimit, ErrorBoundary

# Nobody sends one
BODY_BYTES = 1_024

Check = Callable[[], Awaitable[bool]]
NO_CHECKS: Mapping[str, Check] = {}


def health_app(checks: Mapping[str, Check], dispensable: Mapping[str, Check] = NO_CHECKS) -> Starlette:
    """`/healthz`, `/metrics`, and `/readyz`, which names those of `checks` that fail; and nothing else."""
    return Starlette(
        routes=health_routes(checks, dispensable),
        middleware=[
            Middleware(ErrorBoundary, render=render_wire_error),
            Middleware(BodyLimit, most=BODY_BYTES),
        ],
    )


def health_routes(
    checks: Mapping[str, Check], dispensable: Mapping[str, Check] = NO_CHECKS
) -> list[BaseRoute]:
    """The three routes. `/readyz` runs `checks` in their order, and names those that fail. `dispensable`:
    what is named too, and serves on without."""

    async def show_readiness(_request: Request) -> Response:
        failing = [name for name, check in checks.items() if not await check()]
        missing = [name for name, check in dispensable.items() if not await check()]
        return readiness(failing, missing)

    return [
        route("/healthz", show_alive),
        route("/readyz", show_readiness),
        route("/metrics", show_metrics),
    ]


def route(path: str, endpoint: Callable[[Request], Awaitable[Response]]) -> Route:
    """A route that metrics and traces name: Starlette's own leave no trace in the scope."""

    async def serve(request: Request) -> Response:
        set_route(request.scope, path)
        return await endpoint(request)

    return Route(path, serve)


async def show_alive(_request: Request) -> Response:
    """200 as long as the process works."""
    return json_response(200, {"alive": True})


async def show_metrics(_request: Request) -> Response:
    """Numbers in Prometheus' text format."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def readiness(failing: Sequence[str], missing: Sequence[str] = ()) -> Response:
    """200, or 503 with the failing checks, which is a `WireError` too: `RestClient` raises it as one.
    `missing`: fails as well, and keeps nobody from being served."""
    body: dict[str, Any] = {"ready": not failing, "failing": [*failing, *missing]}
    if not failing:
        return json_response(200, body)
    error = {"code": UNAVAILABLE.code, "message": f"failing: {', '.join(failing)}"}
    return json_response(UNAVAILABLE.http, {**body, **error})


def json_response(status: int, content: object) -> Response:
    """A response in JSON."""
    return Response(msgspec.json.encode(content), status, media_type="application/json")
