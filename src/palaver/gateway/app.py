"""The FastAPI application: every route of every generation, and what each request passes before it."""

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from palaver import __version__
from palaver.contracts.errors import PalaverError
from palaver.gateway import openapi as documents
from palaver.gateway.generations import v0, v1, v2
from palaver.gateway.generations.v2.history_fast_path import ShortWay
from palaver.gateway.http import health
from palaver.gateway.http.errors import refuse
from palaver.gateway.http.middleware import BodyLimit, JsonOnly, Refusals
from palaver.gateway.services import Services
from palaver.runtime.settings import GatewaySettings

EXPOSED_HEADERS = ("retry-after", "traceresponse", "www-authenticate")


def build_app(services: Services) -> FastAPI:
    """The application. It starts and stops nothing: its parts are the bootstrap's."""
    app = bare_app(services.settings)
    app.state.services = services
    return app


def bare_app(settings: GatewaySettings) -> FastAPI:
    """The application without parts: it can be described, and not served."""
    app = FastAPI(
        title="Palaver",
        version=__version__,
        summary="Direct messaging: accounts, chats, messages.",
        description=documents.DESCRIPTION,
        openapi_tags=documents.TAGS,
        middleware=doors_of(settings),
        exception_handlers={PalaverError: refuse, RequestValidationError: refuse, HTTPException: refuse},
        # A path has one spelling: a redirect would lose old clients' bodies
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        # FastAPI's own records of validation errors hold the input: passwords
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    for router in (v2.router, v1.router, v0.router, health.router, documents.router):
        app.include_router(router)
    documents.install(app)
    return app


def doors_of(settings: GatewaySettings) -> list[Middleware]:
    """Outermost first: CORS sees refusals too, or browsers would hide them from their pages."""
    doors = [
        Middleware(Refusals),
        Middleware(BodyLimit, most=settings.body_bytes),
        Middleware(JsonOnly),
        Middleware(ShortWay),
    ]
    if settings.cors_origins:
        cors = Middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["authorization", "idempotency-key", "traceparent"],
            expose_headers=EXPOSED_HEADERS,
        )
        doors.insert(0, cors)
    return doors
