"""Whether the gateway lives, whether it can serve, and its numbers."""

import asyncio
from dataclasses import dataclass
from typing import Annotated

import msgspec
from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from palaver.contracts.errors import PalaverError
from palaver.gateway.http.responses import answer_json
from palaver.runtime.http.rest_client import RestClient

router = APIRouter(tags=["operations"])


@dataclass(frozen=True, slots=True)
class Upstream:
    """A service that the gateway needs, and where to ask it."""

    name: str
    rest: RestClient

    async def lacks(self) -> list[str]:
        """What it says it lacks now, each behind its own name; its name alone where it does not say."""
        try:
            status, content = await self.rest.request("GET", "/readyz")
        except PalaverError:
            return [self.name]
        if status == 200:
            return []
        return [f"{self.name}: {what}" for what in lacks_of(content)] or [self.name]


class Lacking(msgspec.Struct):
    """What the services' `/readyz` have in common."""

    failing: list[str] = []


def lacks_of(content: bytes) -> list[str]:
    """What a service says in its `/readyz`."""
    try:
        return msgspec.json.decode(content, type=Lacking).failing
    except msgspec.DecodeError:
        return []


@dataclass
class Alive:
    """The process answers."""

    alive: bool


@dataclass
class Readiness:
    """Whether requests can be served, by which service not, and what is lacking for it.

    `stream` in `lacks`: the gateway's own one to the messenger does not stand.
    """

    ready: bool
    parts: Annotated[dict[str, bool], Field(examples=[{"auth": True, "messenger": False}])]
    lacks: Annotated[list[str], Field(examples=[["messenger: journal", "stream"]])]


@router.get("/healthz", summary="Is the gateway alive?", response_model=Alive)
async def tell_alive() -> Response:
    """Answers as long as the process works, whatever the other services do. For restarting what hangs."""
    return answer_json(Alive(True))


@router.get(
    "/readyz",
    summary="Can the gateway serve?",
    response_model=Readiness,
    responses={503: {"model": Readiness, "description": "Something is lacking, which `lacks` names"}},
)
async def tell_readiness(request: Request) -> Response:
    """Asks auth and the messenger, and passes on what they say they lack. For load balancers."""
    upstreams: tuple[Upstream, ...] = request.app.state.services.upstreams
    answers = await asyncio.gather(*(upstream.lacks() for upstream in upstreams))
    found = {upstream.name: not lacks for upstream, lacks in zip(upstreams, answers, strict=True)}
    lacking = [what for lacks in answers for what in lacks]
    if not request.app.state.services.is_attached():
        lacking.append("stream")
    return answer_json(Readiness(not lacking, found, lacking), 503 if lacking else 200)


@router.get(
    "/metrics",
    summary="Numbers for Prometheus",
    response_class=Response,
    responses={200: {"description": "The text exposition format", "content": {"text/plain": {}}}},
)
async def tell_metrics() -> Response:
    """Counts and times since the start, in Prometheus' text format."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
