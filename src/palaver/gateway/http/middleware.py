"""What every HTTP request passes before its handler. Plain ASGI: a wrapper costs microseconds."""

import re

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from palaver.contracts.errors import INTERNAL, TOO_LARGE, UNSUPPORTED_DATA, PalaverError
from palaver.gateway.http.errors import answer_error, is_old_path
from palaver.runtime.telemetry.configuration import log
from palaver.runtime.telemetry.log_context import mark_failed

_JSON = re.compile(rb"\s*application/([!-.0-~]+\+)?json\s*(;.*)?", re.IGNORECASE)
_WITH_BODY = frozenset(("POST", "PUT", "PATCH"))
_CONTENT_TYPE = (b"content-type", b"application/json")


class Refusals:
    """Answers what nobody else did: an error that got here is `internal`, logged, and told to nobody."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises what can't be answered any more, because an answer has begun."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        has_begun = False

        async def note(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, note)
        except PalaverError as error:
            if has_begun:
                raise
            await answer_error(error, path)(scope, receive, note)
        except Exception as error:
            log.error("request_failed", path=path, method=scope["method"], exc_info=error)
            mark_failed(type(error).__name__)
            if has_begun:
                raise  # only cutting the connection can tell
            await answer_error(PalaverError(INTERNAL), path)(scope, receive, note)


class BodyLimit:
    """Refuses bodies of more than `most` bytes, whether they say their length or not."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises `too_large`, before the body is read where its length is said."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = header_of(scope, b"content-length")
        if length is not None and (len(length) > 18 or not length.isdigit() or int(length) > self._most):
            raise self._refusal()
        taken = 0

        async def receive_counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._most:
                raise self._refusal()
            return message

        await self._app(scope, receive_counted, send)

    def _refusal(self) -> PalaverError:
        return PalaverError(TOO_LARGE, f"the body is larger than {self._most} bytes")


class JsonOnly:
    """Bodies are JSON. v2 clients must say so; old ones said whatever their library said by itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises `unsupported_data`."""
        if scope["type"] == "http" and scope["method"] in _WITH_BODY:
            if is_old_path(scope["path"]):
                others = [header for header in scope["headers"] if header[0] != b"content-type"]
                # Not in a copy of the scope: whoever is around it would not see the route that is found
                scope["headers"] = [*others, _CONTENT_TYPE]
            elif has_body(scope) and not _JSON.fullmatch(header_of(scope, b"content-type") or b""):
                raise PalaverError(UNSUPPORTED_DATA, "send JSON, as content-type application/json")
        await self._app(scope, receive, send)


def has_body(scope: Scope) -> bool:
    """Whether the request announces a body (RFC 9112 §6)."""
    length = header_of(scope, b"content-length")
    return length not in (None, b"0") or header_of(scope, b"transfer-encoding") is not None


def header_of(scope: Scope, name: bytes) -> bytes | None:
    """The first header of that name."""
    for key, value in scope["headers"]:
        if key == name:
            found: bytes = value
            return found
    return None
