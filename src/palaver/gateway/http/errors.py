"""How each generation says that a request was refused.

v2 says it as problem details (RFC 9457); v0 and v1 as `{"code": 0, "message": …}`, with
400 where v2 says 422.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec
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
from palaver.runtime.telemetry.configuration import log
from palaver.runtime.telemetry.log_context import mark_failed
from palaver.runtime.telemetry.tracing import current_span

PROBLEM_TYPE = "application/problem+json"
METHODS = ("DELETE", "GET", "PATCH", "POST", "PUT")
OLD_PATHS = ("/auth/", "/social/", "/messenger/", "/questionnaires", "/ws")
V0_PATHS = ("/questionnaires", "/ws")

_KINDS_OF_STATUS = {
    kind.http: kind for kind in (MALFORMED, NOT_FOUND, METHOD_NOT_ALLOWED, TOO_LARGE, UNSUPPORTED_DATA)
}


@dataclass(slots=True)
class FieldError:
    """One wrong field. Its name is dotted where it lies deeper, e.g. `messages.0.text`."""

    field: str
    message: str


def is_old_path(path: str) -> bool:
    """Whether v0 and v1 own the path: whatever is refused there is refused in their shape."""
    return path.startswith(OLD_PATHS)


def generation_of(path: str) -> str:
    """The public API that owns the path: v0, v1, v2, or none."""
    if path.startswith("/v2/"):
        return "v2"
    if not is_old_path(path):
        return "none"
    return "v0" if path == "/auth/user" or path.startswith(V0_PATHS) else "v1"


def answer_error(error: PalaverError, path: str, fields: Sequence[FieldError] = ()) -> Response:
    """The answer that tells the client of `error`, in the shape of the path's generation."""
    if not fields and error.field:
        fields = (FieldError(readable(error.field), readable(error.message)),)
    answer = old_answer(error, fields) if is_old_path(path) else problem_answer(error, fields)
    if error.retry_after > 0 or error.kind.http in (429, 503):
        answer.headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
    return answer


def problem_answer(error: PalaverError, fields: Sequence[FieldError]) -> Response:
    """Problem details, RFC 9457."""
    kind = error.kind
    body: dict[str, Any] = {
        "type": f"urn:palaver:error:{kind.code}",
        "title": kind.title,
        "status": kind.http,
        "detail": readable(error.message),
        "code": kind.code,
    }
    if fields:
        body["errors"] = fields
    work = current_span()
    if work is not None and work.trace_id:
        body["trace_id"] = work.trace_id
    # A client that is told 401 must be told the scheme too (RFC 9110 §11.6.1)
    headers = {"www-authenticate": "Bearer"} if kind.http == HTTPStatus.UNAUTHORIZED else None
    return Response(msgspec.json.encode(body), kind.http, headers, PROBLEM_TYPE)


def old_answer(error: PalaverError, fields: Sequence[FieldError]) -> Response:
    """The shape of v0 and v1. They know no 415 or 422: a bad body is 400."""
    status = error.kind.http
    if error.kind in (INVALID, UNSUPPORTED_DATA):
        status = HTTPStatus.BAD_REQUEST
    message = readable(error.message)
    told = [f"{field.field}: {field.message}" for field in fields if field.field not in field.message]
    if told:
        message = f"{message} ({'; '.join(told)})"
    return Response(
        msgspec.json.encode({"code": 0, "message": message}), status, media_type="application/json"
    )


def readable(text: str) -> str:
    """`text` without the lone surrogates that JSON strings may smuggle in, and UTF-8 can't write."""
    return text.encode("utf-8", "replace").decode("utf-8")


async def refuse(request: Request, error: Exception) -> Response:
    """Answers what the catalogue knows; FastAPI calls it for the three classes registered by `build_app`."""
    path = request.scope["path"]
    if isinstance(error, RequestValidationError):
        return refuse_invalid(error, path)
    if isinstance(error, HTTPException):
        answer = refuse_http(error, path)
        if answer.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            answer.headers["allow"] = ", ".join(methods_of_path(request))
        return answer
    assert isinstance(error, PalaverError)
    log_refusal(error, path)
    return answer_error(error, path)


def refuse_invalid(error: RequestValidationError, path: str) -> Response:
    """422 with every wrong field, or 400 where the body is no JSON at all."""
    found = error.errors()
    if found and found[0]["type"] == "json_invalid":
        return answer_error(PalaverError(MALFORMED, "the body is not JSON"), path)
    fields = [
        FieldError(readable(".".join(str(part) for part in one["loc"][1:]) or "body"), readable(one["msg"]))
        for one in found[:20]
    ]
    many = f"{len(found)} fields have values that are not allowed"
    text = f"{fields[0].field}: {fields[0].message}" if len(found) == 1 else many
    return answer_error(PalaverError(INVALID, text), path, fields)


def refuse_http(error: HTTPException, path: str) -> Response:
    """What the router refuses: unknown paths, methods, and bodies that can't be read."""
    if isinstance(error.__cause__, PalaverError):
        # Raised while the body was read, and wrapped by FastAPI
        return answer_error(error.__cause__, path)
    answer = answer_error(PalaverError(kind_of_status(error.status_code)), path)
    for name, value in (error.headers or {}).items():
        answer.headers[name] = value
    return answer


def kind_of_status(status: int) -> ErrorKind:
    """The row of the catalogue for a status that the framework chose."""
    return _KINDS_OF_STATUS.get(status, INTERNAL if status >= HTTPStatus.INTERNAL_SERVER_ERROR else MALFORMED)


def log_refusal(error: PalaverError, path: str) -> None:
    """Our own failures are errors; what is away or full is a warning; clients' mistakes are no news."""
    if error.kind.http >= HTTPStatus.INTERNAL_SERVER_ERROR:
        mark_failed(error.kind.code)
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
