"""Whether the gateway lives, whether it can serve, and its numbers."""

import asyncio
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from palaver.contracts.errors import PalaverError
from palaver.gateway.answers import answer_json
from palaver.runtime.http import RestClient

router = APIRouter(tags=["operations"])


@dataclass(frozen=True, slots=True)
class Upstream:
    """A service that the gateway needs, and where to ask it."""

    name: str
    rest: RestClient

    async def is_ready(self) -> bool:
        """Whether it says so itself, now."""
        try:
            await self.rest.call("GET", "/readyz")
        except PalaverError:
            return False
        return True


@dataclass
class Alive:
    """The process answers."""

    alive: bool


@dataclass
class Readiness:
    """Whether requests can be served, and by which service not."""

    ready: bool
    parts: Annotated[dict[str, bool], Field(examples=[{"auth": True, "messenger": True}])]


@router.get("/healthz", summary="Is the gateway alive?", response_model=Alive)
async def tell_alive() -> Response:
    """Answers as long as the process works, whatever the other services do. For restarting what hangs."""
    return answer_json(Alive(True))


@router.get(
    "/readyz",
    summary="Can the gateway serve?",
    response_model=Readiness,
    responses={503: {"model": Readiness, "description": "Auth or the messenger is away"}},
)
async def tell_readiness(request: Request) -> Response:
    """Asks auth and the messenger. For load balancers."""
    upstreams: tuple[Upstream, ...] = request.app.state.parts.upstreams
    answers = await asyncio.gather(*(upstream.is_ready() for upstream in upstreams))
    found = {upstream.name: ready for upstream, ready in zip(upstreams, answers, strict=True)}
    ready = all(answers)
    return answer_json(Readiness(ready, found), 200 if ready else 503)


@router.get(
    "/metrics",
    summary="Numbers for Prometheus",
    response_class=Response,
    responses={200: {"description": "The text exposition format", "content": {"text/plain": {}}}},
)
async def tell_metrics() -> Response:
    """Counts and times since the start, in Prometheus' text format."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
