"""Whether the messenger lives, what it lacks, and its numbers, by HTTP."""

from collections.abc import Awaitable, Callable, Mapping

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

Check = Callable[[], Awaitable[bool]]


def health_app(checks: Mapping[str, Check]) -> Starlette:
    """`/healthz`, `/metrics`, and `/readyz`, which names those of `checks` that fail."""

    async def tell_alive(_: Request) -> Response:
        return answer(200, {"alive": True})

    async def tell_readiness(_: Request) -> Response:
        lacks = [name for name, check in checks.items() if not await check()]
        return answer(503 if lacks else 200, {"ready": not lacks, "lacks": lacks})

    async def tell_metrics(_: Request) -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return Starlette(
        routes=[
            Route("/healthz", tell_alive),
            Route("/readyz", tell_readiness),
            Route("/metrics", tell_metrics),
        ]
    )


def answer(status: int, content: object) -> Response:
    """An answer in JSON."""
    return Response(msgspec.json.encode(content), status, media_type="application/json")
