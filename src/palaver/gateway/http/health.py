"""Whether the gateway lives, and whether it can serve."""

import asyncio
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from palaver.gateway.http.responses import answer_json
from palaver.gateway.services import services_of

router = APIRouter(tags=["operations"])


@dataclass
class Alive:
    """The process answers."""

    alive: bool


@dataclass
class Readiness:
    """Whether requests can be served, by which service not, and what is failing.

    A service serves while one of its replicas does; `failing` names the others too. `stream` in `failing`:
    the gateway's own one to the messenger does not stand.
    """

    ready: bool
    parts: Annotated[dict[str, bool], Field(examples=[{"auth": True, "messenger": False}])]
    failing: Annotated[list[str], Field(examples=[["messenger: journal", "stream"]])]


@router.get("/healthz", summary="Is the gateway alive?", response_model=Alive)
async def healthz() -> Response:
    """Answers as long as the process works, whatever the other services do. For restarting what hangs."""
    return answer_json(Alive(True))


@router.get(
    "/readyz",
    summary="Can the gateway serve?",
    response_model=Readiness,
    responses={503: {"model": Readiness, "description": "Something is failing, which `failing` names"}},
)
async def readyz(request: Request) -> Response:
    """The readiness of auth, of the messenger, and of the gateway's stream to it. For load balancers."""
    services = services_of(request)
    upstreams = services.upstreams
    reports = await asyncio.gather(*(upstream.look() for upstream in upstreams))
    parts = {upstream.name: report.is_ready for upstream, report in zip(upstreams, reports, strict=True)}
    failing = [part for report in reports for part in report.failing]
    is_attached = services.is_attached()
    if not is_attached:
        failing.append("stream")
    is_ready = is_attached and all(parts.values())
    return answer_json(Readiness(is_ready, parts, failing), 200 if is_ready else 503)
