"""What every HTTP request passes before its handler. Plain ASGI: a wrapper costs microseconds."""

import re

from fastapi import FastAPI
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from palaver.contracts.errors import UNSUPPORTED_DATA, PalaverError
from palaver.gateway.generations.registry import FastAnswer, GenerationRegistry
from palaver.gateway.services import Services
from palaver.runtime.http.errors import Render
from palaver.runtime.http.instrumentation import HEALTH_PATHS, set_route
from palaver.runtime.http.middleware import ErrorBoundary, ResponseHeaders, header_of

_JSON = re.compile(rb"\s*application/([!-.0-~]+\+)?json\s*(;.*)?", re.IGNORECASE)
_WITH_BODY = frozenset(("POST", "PUT", "PATCH"))
# Where a request's scope has its `FastAnswer`
_FOUND = "palaver.fast_answer"
_CONTENT_TYPE = (b"content-type", b"application/json")


class HeadRequests:
    """Serves a HEAD as the GET of the same path; the server leaves the body out (RFC 9110 §9.3.2)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises what the application raises."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_without_body(message: Message) -> None:
            # The server, and what counts the request, go by this scope too
            scope["method"] = "HEAD"
            await send(message)

        scope["method"] = "GET"
        try:
            await self._app(scope, receive, send_without_body)
        finally:
            scope["method"] = "HEAD"


class FallbackRouting:
    """Gives requests for paths that no generation owns to the fallbacks, with their bodies as they are."""

    def __init__(self, app: ASGIApp, generations: GenerationRegistry) -> None:
        self._app = app
        self._generations = generations

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises what the fallback raises."""
        app: ASGIApp = self._app
        if scope["type"] == "http" and self._generations.generation_of(scope["path"]) is None:
            app = self._generations.fallback_of(scope["path"])
        await app(scope, receive, send)


class JsonBodies:
    """Bodies are JSON, and declared as such where the generation requires it."""

    def __init__(self, app: ASGIApp, generations: GenerationRegistry) -> None:
        self._app = app
        self._generations = generations

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises `unsupported_data`."""
        if scope["type"] == "http" and scope["method"] in _WITH_BODY:
            generation = self._generations.generation_of(scope["path"])
            if generation is not None and not generation.requires_json:
                others = [header for header in scope["headers"] if header[0] != b"content-type"]
                # Not in a copy of the scope: middleware around this one would not see the route that is found
                scope["headers"] = [*others, _CONTENT_TYPE]
            elif has_body(scope) and not _JSON.fullmatch(header_of(scope, b"content-type") or b""):
                raise PalaverError(UNSUPPORTED_DATA, "send JSON, as content-type application/json")
        await self._app(scope, receive, send)


class AddressRates:
    """Counts the requests of each address, all but those that fast paths have answered."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises `rate_limited`."""
        if scope["type"] == "http" and scope["path"] not in HEALTH_PATHS:
            client = scope.get("client")
            services: Services = scope["app"].state.services
            services.rates.count_request(client[0] if client else "")
        await self._app(scope, receive, send)


class FastPaths:
    """Answers plain requests by the generations' fast paths, without the router and what stands before it.
    Passes on all others.

    Those cost more than a page of history, which is read more often than all else.
    """

    def __init__(self, app: FastAPI, generations: GenerationRegistry, render: Render) -> None:
        self._app = app
        self._fast_paths = [one.fast_path for one in generations.generations if one.fast_path is not None]
        # What all responses have, errors too
        self._answer = ResponseHeaders(ErrorBoundary(answer_fast, render))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises what the route would."""
        found = self._find(scope)
        if found is None:
            await self._app(scope, receive, send)
            return
        set_route(scope, found.route)
        scope["app"] = self._app
        scope[_FOUND] = found
        await self._answer(scope, receive, send)

    def _find(self, scope: Scope) -> FastAnswer | None:
        if scope["type"] != "http" or scope["method"] != "GET" or has_body(scope):
            return None
        path, query = scope["path"], scope["query_string"]
        for fast_path in self._fast_paths:
            found = fast_path(path, query)
            if found is not None:
                return found
        return None


async def answer_fast(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers a request whose fast path was found. Raises what the route would."""
    found: FastAnswer = scope[_FOUND]
    response = await found.respond(Request(scope))
    await response(scope, receive, send)


def has_body(scope: Scope) -> bool:
    """Whether the request announces a body (RFC 9112 §6)."""
    length = header_of(scope, b"content-length")
    return length not in (None, b"0") or header_of(scope, b"transfer-encoding") is not None
