"""The messenger's health and numbers, by HTTP."""

from collections.abc import Mapping

from starlette.applications import Starlette
from starlette.middleware import Middleware

from palaver.runtime.http.errors import render_wire_error
from palaver.runtime.http.health import Check, health_routes
from palaver.runtime.http.middleware import BodyLimit, ErrorBoundary

# Nobody sends one
BODY_BYTES = 1_024


def health_app(checks: Mapping[str, Check]) -> Starlette:
    """`/healthz`, `/metrics`, and `/readyz`, which names those of `checks` that fail."""
    return Starlette(
        routes=health_routes(checks),
        middleware=[
            Middleware(ErrorBoundary, render=render_wire_error),
            Middleware(BodyLimit, most=BODY_BYTES),
        ],
    )
