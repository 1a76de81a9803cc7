"""How private REST says errors: each is a `WireError` with the HTTP status of its kind."""

import math
from collections.abc import MutableMapping
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from palaver.contracts.errors import (
    INTERNAL,
    INVALID,
    MALFORMED,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    TOO_LARGE,
    PalaverError,
    error_to_wire,
)
from palaver.runtime.telemetry.configuration import log
from palaver.runtime.telemetry.log_context import mark_failed

_KINDS_OF_STATUS = {kind.http: kind for kind in (MALFORMED, NOT_FOUND, METHOD_NOT_ALLOWED, TOO_LARGE)}


def answer_errors(app: FastAPI) -> None:
    """Makes `app` answer every error as a `WireError`; what nobody foresaw is logged and `internal`."""
    app.add_exception_handler(PalaverError, refuse)
    app.add_exception_handler(RequestValidationError, refuse)
    app.add_exception_handler(HTTPException, refuse)
    app.add_exception_handler(Exception, refuse)


async def refuse(request: Request, error: Exception) -> Response:
    """The answer to a request that ended with `error`."""
    known = known_error(error)
    if known.kind.http >= 500:
        mark_failed(known.kind.code if isinstance(error, PalaverError) else type(error).__name__)
    if known.kind is INTERNAL:
        log.error("request_failed", path=request.scope["path"], exc_info=error, **known.debug)
    elif known.kind.http >= 500:
        log.warning("request_refused", path=request.scope["path"], code=known.kind.code, **known.debug)
    return error_answer(known)


def known_error(error: Exception) -> PalaverError:
    """The row of the catalogue, and the text, with which `error` is told."""
    if isinstance(error, PalaverError):
        return error
    if isinstance(error, RequestValidationError):
        return validation_error(error)
    if isinstance(error, HTTPException):
        kind = _KINDS_OF_STATUS.get(error.status_code, MALFORMED if error.status_code < 500 else INTERNAL)
        return PalaverError(kind)
    return PalaverError(INTERNAL)


def validation_error(error: RequestValidationError) -> PalaverError:
    """`malformed` for a body that is no JSON, else `invalid` with the first wrong field. Never the value: it
    may be a password."""
    first: MutableMapping[str, Any] = error.errors()[0]
    if first["type"] == "json_invalid":
        return PalaverError(MALFORMED, "the body is not JSON")
    # The first part says where the field is: body, query, path
    field = ".".join(str(part) for part in first["loc"][1:]) or "body"
    if first["type"] == "extra_forbidden":
        return PalaverError(INVALID, f"{field} is not a field here", field=field)
    return PalaverError(INVALID, f"{field}: {first['msg']}", field=field)


def error_answer(error: PalaverError) -> Response:
    """The answer that tells of `error`."""
    headers = {}
    if error.retry_after > 0:
        headers["retry-after"] = str(math.ceil(error.retry_after))
    wire = error_to_wire(error)
    # Half of a surrogate pair, which JSON can smuggle into a field's name, can't be written as UTF-8
    wire.message, wire.field = writable(wire.message), writable(wire.field)
    return Response(msgspec.json.encode(wire), error.kind.http, headers, "application/json")


def writable(text: str) -> str:
    """`text` with a question mark for each lone surrogate."""
    return text.encode("utf-8", "replace").decode()


class Guarded:
    """An ASGI app behind a limit of its bodies' size, in bytes, and a net for errors that it raises.

    Bodies are read before the app is called: a client that is slow or says too much costs no work.
    """

    def __init__(self, app: ASGIApp, body_bytes: int) -> None:
        self._app = app
        self._body_bytes = body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            body = await read_body(receive, self._body_bytes)
        except ClientDisconnect:
            return
        if body is None:
            text = f"the body has more than {self._body_bytes:,} bytes"
            await error_answer(PalaverError(TOO_LARGE, text))(scope, receive, send)
            return
        unread = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive_read() -> Message:
            return unread.pop() if unread else await receive()

        try:
            await self._app(scope, receive_read, send)
        except Exception as error:
            # Answered and logged by `refuse`, and raised again by Starlette, for servers that want to see it
            log.debug("request_ended_with_error", error=type(error).__name__)


async def read_body(receive: Receive, most: int) -> bytes | None:
    """The whole body, or None where it has more than `most` bytes. Raises `ClientDisconnect`."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            # What came so far is a piece of a request, and may read as another one
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > most:
            return None
        if not message.get("more_body", False):
            return bytes(body)
