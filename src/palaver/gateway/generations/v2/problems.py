"""Problem details (RFC 9457) as OpenAPI knows them."""

from typing import Any

from palaver.contracts.errors import (
    CONFLICT,
    FORBIDDEN,
    INVALID,
    MALFORMED,
    NOT_FOUND,
    OVERLOADED,
    RATE_LIMITED,
    TOO_LARGE,
    UNAUTHENTICATED,
    UNAVAILABLE,
    UNSUPPORTED_DATA,
    ErrorKind,
)
from palaver.gateway.http.errors import PROBLEM_TYPE

Responses = dict[int | str, dict[str, Any]]

SCHEMA: dict[str, Any] = {
    "title": "Problem",
    "description": "Why a request was refused: problem details, RFC 9457. Decide by `code`.",
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "additionalProperties": False,
    "properties": {
        "type": {"type": "string", "format": "uri", "description": "`urn:palaver:error:` and the code."},
        "title": {"type": "string", "description": "The kind of error, in words."},
        "status": {"type": "integer", "description": "The HTTP status."},
        "detail": {"type": "string", "description": "What was wrong this time, in words."},
        "code": {"type": "string", "description": "The kind of error, for programs."},
        "errors": {
            "type": "array",
            "description": "The fields that are wrong, where fields are.",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "additionalProperties": False,
                "properties": {
                    "field": {"type": "string", "description": "Dotted where it lies deeper."},
                    "message": {"type": "string"},
                },
            },
        },
        "trace_id": {
            "type": "string",
            "pattern": "^[0-9a-f]{32}$",
            "description": "The request's trace, for whoever runs Palaver; not there where traces are off.",
        },
    },
}

_KINDS: dict[int, ErrorKind] = {
    kind.http: kind
    for kind in (
        MALFORMED,
        UNAUTHENTICATED,
        FORBIDDEN,
        NOT_FOUND,
        CONFLICT,
        TOO_LARGE,
        UNSUPPORTED_DATA,
        INVALID,
        RATE_LIMITED,
        UNAVAILABLE,
    )
}
_MEANINGS = {
    400: "The body is not JSON",
    401: "There is no access token, or it is not valid any more",
    403: "The caller may not do this",
    404: "There is nothing here for the caller",
    409: "It is there already",
    413: "The body is too large",
    415: "The body is not said to be JSON",
    422: "A field has a value that is not allowed; `errors` says which",
    429: "Too many requests; `retry-after` says when to come back",
    503: "A part of the service is away or too busy; `retry-after` says when to come back",
}
_RETRY_AFTER = {
    "retry-after": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}
}
WITH_BODY = (400, 413, 415, 422)


def problems(*statuses: int) -> Responses:
    """The refusals of an operation. Every one may meet 503; those that need a token or a body say so."""
    return {status: problem(status) for status in sorted({*statuses, 503})}


def problem(status: int) -> dict[str, Any]:
    """One refusal, with an example."""
    kind = _KINDS[status]
    example: dict[str, Any] = {
        "type": f"urn:palaver:error:{kind.code}",
        "title": kind.title,
        "status": status,
        "detail": kind.title,
        "code": kind.code,
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    }
    if kind is INVALID:
        example["detail"] = "companion_id: must be a UUID"
        example["errors"] = [{"field": "companion_id", "message": "must be a UUID"}]
    told: dict[str, Any] = {
        "description": _MEANINGS[status],
        "content": {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}},
    }
    if status in (RATE_LIMITED.http, OVERLOADED.http):
        told["headers"] = _RETRY_AFTER
    return told
