"""The FastAPI application: every route of every generation, and what each request passes before it."""

from functools import cache
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from palaver import __version__
from palaver.contracts.errors import MALFORMED, PalaverError
from palaver.gateway import openapi
from palaver.gateway.generations.registry import GenerationRegistry
from palaver.gateway.http.body_limits import BodyLimits
from palaver.gateway.http.errors import ErrorResponses
from palaver.gateway.http.middleware import (
    AddressRates,
    FallbackRouting,
    FastPaths,
    HeadRequests,
    JsonBodies,
)
from palaver.gateway.services import Services
from palaver.runtime.http.json_bounds import JsonBounds
from palaver.runtime.http.middleware import ErrorBoundary, ResponseHeaders
from palaver.runtime.settings.gateway import GatewaySettings

FEW_FIELDS = 100
EXPOSED_HEADERS = ("retry-after", "traceresponse", "www-authenticate")


def build_app(services: Services, generations: GenerationRegistry) -> ASGIApp:
    """The application. It starts and stops nothing: its parts are the bootstrap's."""
    app = bare_app(services.settings, generations)
    app.state.services = services
    public = FastPaths(app, generations, ErrorResponses(generations).respond)
    if not services.settings.cors_origins:
        return public
    # CORS sees refusals too, or browsers would hide them
    cors = CORSMiddleware(
        public,
        allow_origins=services.settings.cors_origins,
        allow_methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=["authorization", "idempotency-key", "traceparent"],
        expose_headers=EXPOSED_HEADERS,
    )
    return ResponseHeaders(cors)


def bare_app(settings: GatewaySettings, generations: GenerationRegistry) -> FastAPI:
    """The application without services: it can be described, and not served."""
    errors = ErrorResponses(generations)
    app = FastAPI(
        title="Palaver",
        version=__version__,
        summary="Direct messaging: accounts, chats, messages.",
        description=openapi.DESCRIPTION,
        openapi_tags=[dict(generation.tag) for generation in generations.generations],
        middleware=middleware_of(settings, generations, errors),
        exception_handlers={
            PalaverError: errors.handle,
            RequestValidationError: errors.handle,
            HTTPException: errors.handle,
        },
        # A path has one spelling: a redirect would lose old clients' bodies
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        # FastAPI's own records of validation errors hold the input: passwords
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    for generation in generations.generations:
        app.include_router(generation.router)
    for path in generations.socket_paths():
        app.add_api_route(path, refuse_plain_request, include_in_schema=False)

    @cache
    def document() -> dict[str, Any]:
        return openapi.describe(app, generations)

    app.openapi = document  # type: ignore[method-assign] # FastAPI's own way to change the document
    return app


async def refuse_plain_request() -> Response:
    """A request for a socket without an upgrade to it. Raises `malformed`."""
    raise PalaverError(MALFORMED, "this is a WebSocket: connect to it with ws:// or wss://")


def most_fields(settings: GatewaySettings) -> int:
    """How many fields the objects of a body have together: a message has two, and nothing else has many. An
    unknown one costs an error each."""
    return FEW_FIELDS + 2 * settings.messages_per_request


def middleware_of(
    settings: GatewaySettings, generations: GenerationRegistry, errors: ErrorResponses
) -> list[Middleware]:
    """Outermost first: headers are for all."""
    return [
        Middleware(ResponseHeaders),
        Middleware(HeadRequests),
        Middleware(ErrorBoundary, render=errors.respond),
        Middleware(FallbackRouting, generations=generations),
        Middleware(
            BodyLimits,
            generations=generations,
            small=settings.small_body_bytes,
            most=settings.body_bytes,
        ),
        Middleware(JsonBodies, generations=generations),
        Middleware(JsonBounds, most_fields=most_fields(settings), most_values=settings.body_values),
        Middleware(AddressRates),
    ]
