"""Errors of requests, answered in the shape of the path's owner."""

import math
from collections.abc import Sequence
from http import HTTPStatus

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from palaver.contracts.errors import (
    INTERNAL,
    INVALID,
    MALFORMED,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    TOO_LARGE,
    UNSUPPORTED_DATA,
    ErrorKind,
    PalaverError,
)
from palaver.gateway.generations.registry import GenerationRegistry
from palaver.gateway.http.error_shape import FieldError, encodable
from palaver.runtime.telemetry.configuration import log
from palaver.runtime.telemetry.log_context import note_failure
from palaver.runtime.telemetry.tracing import current_work

METHODS = ("DELETE", "GET", "PATCH", "POST", "PUT")
# Wrong fields that are named; a body can have any number of them
MOST_FIELDS = 20

_KINDS_OF_STATUS = {
    kind.http: kind for kind in (MALFORMED, NOT_FOUND, METHOD_NOT_ALLOWED, TOO_LARGE, UNSUPPORTED_DATA)
}


class ErrorResponses:
    """Turns errors into answers."""

    def __init__(self, generations: GenerationRegistry) -> None:
        self._generations = generations

    def respond(self, error: PalaverError, path: str, fields: Sequence[FieldError] = ()) -> Response:
        """The answer to a request for `path` that ended with `error`."""
        if not fields and error.field:
            fields = (FieldError(encodable(error.field), encodable(error.message)),)
        work = current_work()
        answer = self._generations.owner_of(path).errors(error, fields, work.trace_id if work else "")
        response = Response(answer.body, answer.status, dict(answer.headers), answer.content_type)
        if error.retry_after > 0 or error.kind.http in (429, 503):
            response.headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
        return response

    async def handle(self, request: Request, error: Exception) -> Response:
        """The answer to what a handler or the router raised: a `PalaverError`, a validation error or an
        `HTTPException`."""
        path: str = request.scope["path"]
        if isinstance(error, RequestValidationError):
            known, fields = error_of_validation(error)
            return self.respond(known, path, fields)
        if isinstance(error, HTTPException):
            return self._respond_http(request, error, path)
        assert isinstance(error, PalaverError)
        log_failure(error, path)
        return self.respond(error, path)

    def _respond_http(self, request: Request, error: HTTPException, path: str) -> Response:
        """What the router refuses: unknown paths, methods, and bodies that cannot be read."""
        if isinstance(error.__cause__, PalaverError):
            # Raised while the body was read, and wrapped by FastAPI
            return self.respond(error.__cause__, path)
        response = self.respond(PalaverError(kind_of_status(error.status_code)), path)
        response.headers.update(error.headers or {})
        if response.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            response.headers["allow"] = ", ".join(methods_of_path(request))
        return response


def error_of_validation(error: RequestValidationError) -> tuple[PalaverError, Sequence[FieldError]]:
    """`invalid` with every wrong field, or `malformed` where the body is no JSON at all."""
    found = error.errors()
    if found and found[0]["type"] == "json_invalid":
        return PalaverError(MALFORMED, "the body is not JSON"), ()
    fields = [
        FieldError(encodable(".".join(str(part) for part in one["loc"][1:]) or "body"), encodable(one["msg"]))
        for one in found[:MOST_FIELDS]
    ]
    many = f"{len(found)} fields have values that are not allowed"
    text = f"{fields[0].field}: {fields[0].message}" if len(found) == 1 else many
    return PalaverError(INVALID, text), fields


def kind_of_status(status: int) -> ErrorKind:
    """The row of the catalogue for a status that the framework chose."""
    return _KINDS_OF_STATUS.get(status, INTERNAL if status >= HTTPStatus.INTERNAL_SERVER_ERROR else MALFORMED)


def log_failure(error: PalaverError, path: str) -> None:
    """Logs our own failures as errors, what is away or full as warnings, and no mistake of a client."""
    if error.kind.http >= HTTPStatus.INTERNAL_SERVER_ERROR:
        note_failure(error.kind.code)
    if error.kind is INTERNAL:
        log.error("request_failed", path=path, debug=error.debug)
    elif error.kind.http >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning("request_refused", path=path, code=error.kind.code, debug=error.debug)


def methods_of_path(request: Request) -> list[str]:
    """Every method that the path answers (RFC 9110 §15.5.6); the router knows only the first route's."""
    scope = request.scope
    return [
        method
        for method in METHODS
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in scope["app"].routes)
    ]
