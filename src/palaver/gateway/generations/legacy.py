"""What v0 and v1 have in common: their errors, lists' bounds and times."""

import re
from collections.abc import Sequence
from datetime import date
from http import HTTPStatus
from typing import Annotated, Any

import msgspec
from fastapi import Query
from pydantic import BeforeValidator, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from palaver.contracts.errors import INVALID, NOT_FOUND, UNSUPPORTED_DATA, PalaverError
from palaver.contracts.seqs import LAST_SEQ
from palaver.gateway.http.error_shape import ErrorAnswer
from palaver.gateway.http.fields import QueryNumber
from palaver.runtime.http.errors import FieldError, well_formed

# An old client may want a whole history at once; it gets this much, and sees it by `limit` in the answer
MOST = 1_000

_DIGITS = re.compile(r"[0-9]{1,400}")
_DAY = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"([Tt ]([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)([.,][0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})?)?"
)


def limit_of(value: Any) -> Any:
    """The number of a query's text, brought down to `MOST`."""
    if isinstance(value, str):
        if not _DIGITS.fullmatch(value):
            raise PydanticCustomError("number", "must be a whole number, not negative")
        return min(int(value), MOST)
    return value


def birthday_of(value: Any) -> date:
    """The day of an RFC 3339 time, as it stands there, or of a date alone."""
    found = _DAY.fullmatch(value) if isinstance(value, str) else None
    try:
        if found:
            return date(int(found[1]), int(found[2]), int(found[3]))
    except ValueError:
        pass
    raise PydanticCustomError("birthday", "must be an RFC 3339 time, e.g. 1994-04-10T20:21:25+00:00")


def time_of_day(day: date) -> str:
    """A day as old clients parse it: midnight, RFC 3339."""
    return f"{day.isoformat()}T00:00:00Z"


def bad_request_if_unknown(error: PalaverError) -> PalaverError:
    """Old generations answer 400 where a user is unknown, and not 404."""
    if error.kind is NOT_FOUND:
        return PalaverError(INVALID, error.message, field=error.field)
    return error


Birthday = Annotated[
    date,
    PlainValidator(birthday_of),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["1994-04-10T20:21:25+00:00"]}),
]
Limit = Annotated[
    int, BeforeValidator(limit_of), Query(ge=0, description=f"Most entries of the answer; {MOST} at most.")
]
Offset = Annotated[QueryNumber, Query(ge=0, le=LAST_SEQ, description="Entries to pass over.")]


def error_example(message: str) -> dict[str, Any]:
    """An error of the old shape, as OpenAPI shows it."""
    return {
        "application/json": {
            "schema": {"$ref": "#/components/schemas/OldError"},
            "example": {"code": 0, "message": message},
        }
    }


def legacy_error(error: PalaverError, fields: Sequence[FieldError], trace_id: str) -> ErrorAnswer:  # noqa: ARG001 - the signature is ErrorShape's
    """See `ErrorShape`. Old clients know no 415 or 422: a bad body is 400."""
    status = HTTPStatus.BAD_REQUEST if error.kind in (INVALID, UNSUPPORTED_DATA) else error.kind.http
    message = well_formed(error.message)
    named = [f"{field.field}: {field.message}" for field in fields if field.field not in field.message]
    if named:
        message = f"{message} ({'; '.join(named)})"
    return ErrorAnswer(status, "application/json", msgspec.json.encode({"code": 0, "message": message}))


ERROR_SCHEMAS: dict[str, dict[str, Any]] = {
    "OldError": {
        "title": "OldError",
        "description": "Why a request was refused, as v0 and v1 say it. `code` is always 0.",
        "type": "object",
        "required": ["code", "message"],
        "additionalProperties": False,
        "properties": {"code": {"type": "integer", "const": 0}, "message": {"type": "string"}},
    }
}
_MEANINGS = {
    400: "The request is wrong",
    401: "There is no access token, or it is not valid any more",
    404: "There is no such chat for the caller",
    409: "The email is taken",
    413: "The body is too large",
    429: "Too many requests; `retry-after` says when to come back",
    503: "A part of the service is away or too busy",
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The refusals of an operation. Every one may meet 503."""
    return {
        status: {"description": _MEANINGS[status], "content": error_example(_MEANINGS[status])}
        for status in sorted({*statuses, 503})
    }
