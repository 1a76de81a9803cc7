"""What every HTTP request passes before its handler. Plain ASGI: a wrapper costs microseconds."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from palaver.contracts.errors import INTERNAL, TOO_LARGE, PalaverError
from palaver.runtime.http.errors import REFUSAL, Render, log_refusal
from palaver.runtime.telemetry.configuration import log
from palaver.runtime.telemetry.log_context import mark_failed

# More digits would be more bytes than there are
_LENGTH_DIGITS = 18

# Responses hold tokens and what people wrote: nobody keeps, guesses at, frames or runs them
PROTECTING_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)


class ResponseHeaders:
    """Adds the headers that keep browsers and caches off a response, where it has none of its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises what the application raises."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                own = {name for name, _ in headers}
                message["headers"] = headers + [one for one in PROTECTING_HEADERS if one[0] not in own]
            await send(message)

        await self._app(scope, receive, send_with_headers)


class ErrorBoundary:
    """Renders what no handler did: an exception that is not in the catalogue is `internal`, and logged.

    So are requests that the protocol could not read to their end: their scope has a `REFUSAL`.
    """

    def __init__(self, app: ASGIApp, render: Render) -> None:
        self._app = app
        self._render = render

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request. Raises what comes after its response has begun: only a cut shows it then."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        has_begun = False

        async def send_noted(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        async def receive_checked() -> Message:
            message = await receive()
            if REFUSAL in scope:
                raise scope[REFUSAL]
            return message

        try:
            if REFUSAL in scope:
                raise scope[REFUSAL]
            await self._app(scope, receive_checked, send_noted)
        except PalaverError as error:
            if has_begun:
                raise
            log_refusal(error, path)
            await self._render(error, path, ())(scope, receive, send)
        except Exception as error:
            log.error("request_failed", path=path, method=scope["method"], exc_info=error)
            mark_failed(type(error).__name__)
            if has_begun:
                raise
            await self._render(PalaverError(INTERNAL), path, ())(scope, receive, send)


class BodyLimit:
    """Refuses bodies of more than `most` bytes, whether they announce their length or not."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises `too_large`, before the body is read where its length is announced."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._is_too_large(header_of(scope, b"content-length")):
            raise self._refusal()
        received = 0

        async def receive_counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._most:
                raise self._refusal()
            return message

        await self._app(scope, receive_counted, send)

    def _is_too_large(self, length: bytes | None) -> bool:
        if length is None:
            return False
        return len(length) > _LENGTH_DIGITS or not length.isdigit() or int(length) > self._most

    def _refusal(self) -> PalaverError:
        return PalaverError(TOO_LARGE, f"the body is larger than {self._most} bytes")


def header_of(scope: Scope, name: bytes) -> bytes | None:
    """The first header of that name, in lower case."""
    for key, value in scope["headers"]:
        if key == name:
            found: bytes = value
            return found
    return None
