"""Errors as HTTP responses: which row of the catalogue they are, and how private REST renders them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus

import msgspec
from starlette.responses import Response

from palaver.contracts.errors import (
    INTERNAL,
    MALFORMED,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    TOO_LARGE,
    UNSUPPORTED_DATA,
    ErrorKind,
    PalaverError,
    error_to_wire,
)
from palaver.runtime.telemetry.configuration import log
from palaver.runtime.telemetry.log_context import mark_failed

# In the scope of a request that cannot be served: the `PalaverError` by which its connection ends
REFUSAL = "palaver.refusal"

_KINDS_OF_STATUS = {
    kind.http: kind for kind in (MALFORMED, NOT_FOUND, METHOD_NOT_ALLOWED, TOO_LARGE, UNSUPPORTED_DATA)
}


@dataclass(slots=True)
class FieldError:
    """One wrong field. Its name is dotted where it lies deeper, e.g. `messages.0.text`."""

    field: str
    message: str


# The response for an error on a path, with the fields that are wrong, where fields are
Render = Callable[[PalaverError, str, Sequence[FieldError]], Response]


def render_wire_error(error: PalaverError, _path: str = "", fields: Sequence[FieldError] = ()) -> Response:
    """A `WireError` with the status of its kind, as private REST has it. Of `fields` it names the first."""
    headers = {}
    if error.retry_after > 0:
        headers["retry-after"] = str(math.ceil(error.retry_after))
    wire = error_to_wire(error)
    if fields:
        wire.field, wire.message = fields[0].field, f"{fields[0].field}: {fields[0].message}"
    wire.message, wire.field = well_formed(wire.message), well_formed(wire.field)
    return Response(msgspec.json.encode(wire), error.kind.http, headers, "application/json")


def kind_of_status(status: int) -> ErrorKind:
    """The row of the catalogue for a status that the framework chose."""
    return _KINDS_OF_STATUS.get(status, INTERNAL if status >= HTTPStatus.INTERNAL_SERVER_ERROR else MALFORMED)


def well_formed(text: str) -> str:
    """`text` with a question mark for each lone surrogate: JSON smuggles them in, and UTF-8 has none."""
    return text.encode("utf-8", "replace").decode()


def log_refusal(error: PalaverError, path: str) -> None:
    """Logs a failure of ours as an error, and what is away or full as a warning; clients' mistakes not."""
    if error.kind.http < HTTPStatus.INTERNAL_SERVER_ERROR:
        return
    mark_failed(error.kind.code)
    if error.kind is INTERNAL:
        log.error("request_failed", path=path, debug=error.debug)
    else:
        log.warning("request_refused", path=path, code=error.kind.code, debug=error.debug)
