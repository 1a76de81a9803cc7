"""Errors of requests, answered in the shape of the path's owner."""

import math
from collections.abc import Sequence
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from palaver.contracts.errors import PalaverError
from palaver.gateway.generations.registry import GenerationRegistry
from palaver.runtime.http.errors import FieldError, well_formed
from palaver.runtime.http.exception_handlers import render_exception
from palaver.runtime.telemetry.tracing import current_span

METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")


class ErrorResponses:
    """Turns errors into responses."""

    def __init__(self, generations: GenerationRegistry) -> None:
        self._generations = generations

    def respond(self, error: PalaverError, path: str, fields: Sequence[FieldError] = ()) -> Response:
        """The response to a request for `path` that ended with `error`."""
        if not fields and error.field:
            fields = (FieldError(well_formed(error.field), well_formed(error.message)),)
        span = current_span()
        answer = self._generations.owner_of(path).errors(error, fields, span.trace_id if span else "")
        response = Response(answer.body, answer.status, dict(answer.headers), answer.content_type)
        if error.retry_after > 0 or error.kind.http in (429, 503):
            response.headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
        return response

    async def handle(self, request: Request, error: Exception) -> Response:
        """The response to what a handler or the router raised: a `PalaverError`, a validation error or an
        `HTTPException`."""
        response = render_exception(error, request.scope["path"], self.respond)
        if response.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            response.headers["allow"] = ", ".join(methods_of_path(request))
        return response


def methods_of_path(request: Request) -> list[str]:
    """Every method that the path answers (RFC 9110 §15.5.6); the router knows only the first route's."""
    scope = request.scope
    return [
        method
        for method in METHODS
        # A HEAD is served as the GET (see `HeadRequests`)
        if any(
            route.matches({**scope, "method": "GET" if method == "HEAD" else method})[0] is Match.FULL
            for route in scope["app"].routes
        )
    ]
