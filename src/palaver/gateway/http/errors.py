"""How each generation says that a request was refused.

v2 says it as problem details (RFC 9457); v0 and v1 as `{"code": 0, "message": …}`, with
400 where v2 says 422.
"""

import math
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from palaver.contracts.errors import INVALID, UNSUPPORTED_DATA, PalaverError
from palaver.runtime.http.errors import FieldError, well_formed
from palaver.runtime.http.exception_handlers import render_exception
from palaver.runtime.telemetry.tracing import current_work

PROBLEM_TYPE = "application/problem+json"
METHODS = ("DELETE", "GET", "PATCH", "POST", "PUT")
OLD_PATHS = ("/auth/", "/social/", "/messenger/", "/questionnaires", "/ws")
V0_PATHS = ("/questionnaires", "/ws")


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
        fields = (FieldError(well_formed(error.field), well_formed(error.message)),)
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
        "detail": well_formed(error.message),
        "code": kind.code,
    }
    if fields:
        body["errors"] = fields
    work = current_work()
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
    message = well_formed(error.message)
    told = [f"{field.field}: {field.message}" for field in fields if field.field not in field.message]
    if told:
        message = f"{message} ({'; '.join(told)})"
    return Response(
        msgspec.json.encode({"code": 0, "message": message}), status, media_type="application/json"
    )


async def refuse(request: Request, error: Exception) -> Response:
    """Answers what the catalogue knows; FastAPI calls it for the three classes registered by `build_app`."""
    answer = render_exception(error, request.scope["path"], answer_error)
    if answer.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        answer.headers["allow"] = ", ".join(methods_of_path(request))
    return answer


def methods_of_path(request: Request) -> list[str]:
    """Every method that the path answers (RFC 9110 §15.5.6); the router knows only the first route's."""
    scope = request.scope
    return [
        method
        for method in METHODS
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in scope["app"].routes)
    ]
