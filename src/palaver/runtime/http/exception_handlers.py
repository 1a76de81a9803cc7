"""What FastAPI's handlers raise, as responses; each API gives its own `render`."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from palaver.contracts.errors import INVALID, MALFORMED, PalaverError
from palaver.runtime.http.errors import FieldError, Render, kind_of_status, log_refusal, well_formed

MOST_FIELDS = 20
# Of a field's name, and of what is wrong with it: an unknown field is named as the client wrote it
MOST_CHARACTERS = 200

Handler = Callable[[Request, Any], Coroutine[Any, Any, Response]]


def exception_handlers(render: Render) -> dict[int | type[Exception], Handler]:
    """FastAPI's `exception_handlers`. Other exceptions are for `ErrorBoundary`."""

    async def handle(request: Request, error: Exception) -> Response:
        return render_exception(error, request.scope["path"], render)

    return {PalaverError: handle, RequestValidationError: handle, HTTPException: handle}


def render_exception(error: Exception, path: str, render: Render) -> Response:
    """The response for one of the three exceptions above."""
    if isinstance(error, RequestValidationError):
        refusal, fields = validation_error(error)
        return render(refusal, path, fields)
    if isinstance(error, HTTPException):
        return render_framework_error(error, path, render)
    assert isinstance(error, PalaverError)
    log_refusal(error, path)
    return render(error, path, ())


def render_framework_error(error: HTTPException, path: str, render: Render) -> Response:
    """The response for what the router refuses: unknown paths, methods, and bodies that can't be read."""
    if isinstance(error.__cause__, PalaverError):
        # Raised while the body was read, and wrapped by FastAPI
        return render(error.__cause__, path, ())
    response = render(PalaverError(kind_of_status(error.status_code)), path, ())
    for name, value in (error.headers or {}).items():
        response.headers[name] = value
    return response


def validation_error(error: RequestValidationError) -> tuple[PalaverError, list[FieldError]]:
    """`malformed` for a body that is no JSON, else `invalid` with the wrong fields.

    Never their values: one may be a password.
    """
    found = error.errors()
    if found and found[0]["type"] == "json_invalid":
        return PalaverError(MALFORMED, "the body is not JSON"), []
    fields = [
        FieldError(well_formed(name_of(one["loc"])), well_formed(one["msg"][:MOST_CHARACTERS]))
        for one in found[:MOST_FIELDS]
    ]
    many = f"{len(found)} fields have values that are not allowed"
    text = f"{fields[0].field}: {fields[0].message}" if len(found) == 1 else many
    return PalaverError(INVALID, text), fields


def name_of(place: Sequence[str | int]) -> str:
    """The dotted name of a field. The first part of its place is where it stands: body, query, path."""
    return ".".join(str(part)[:MOST_CHARACTERS] for part in place[1:])[:MOST_CHARACTERS] or "body"
