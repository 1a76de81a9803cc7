"""Problem details (RFC 9457): the shape of v2's errors, and of those on paths that no generation owns."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from palaver.contracts.errors import PalaverError
from palaver.gateway.http.error_shape import ErrorAnswer
from palaver.runtime.http.errors import FieldError, well_formed

PROBLEM_TYPE = "application/problem+json"
PROBLEM_SCHEMA: dict[str, Any] = {
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


def problem_details(error: PalaverError, fields: Sequence[FieldError], trace_id: str) -> ErrorAnswer:
    """See `ErrorShape`."""
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
    if trace_id:
        body["trace_id"] = trace_id
    # A 401 without the scheme is against RFC 9110 §11.6.1
    headers = {"www-authenticate": "Bearer"} if kind.http == HTTPStatus.UNAUTHORIZED else {}
    return ErrorAnswer(kind.http, PROBLEM_TYPE, msgspec.json.encode(body), headers)
