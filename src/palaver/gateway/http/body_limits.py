"""How large a request may be, by its path and its caller. Plain ASGI."""

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from palaver.contracts.errors import INVALID, PalaverError
from palaver.gateway.generations.registry import GenerationRegistry
from palaver.gateway.http.middleware import has_body
from palaver.runtime.http.middleware import BodyLimit, header_of

# No operation has a tenth of it
MOST_PARAMETERS = 100


class BodyLimits:
    """Takes bodies of `most` bytes where a generation has large ones, from callers whose access token is
    good; all others have `small` bytes at most.

    So whoever has no account cannot make the gateway hold, or parse, more than a little.
    """

    def __init__(self, app: ASGIApp, generations: GenerationRegistry, small: int, most: int) -> None:
        self._generations = generations
        self._small = min(small, most)
        self._limited = BodyLimit(app, self._small)
        self._large = BodyLimit(app, most)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises `too_large`, before the body is read where its length is announced; `unauthenticated` and
        `session_revoked` before more than a little of it is read; `invalid` for a query of many
        parameters."""
        if scope["type"] != "http":
            await self._large(scope, receive, send)
            return
        if scope["query_string"].count(b"&") >= MOST_PARAMETERS:
            raise PalaverError(INVALID, f"the query has more than {MOST_PARAMETERS} parameters")
        generation = self._generations.generation_of(scope["path"]) if has_body(scope) else None
        if (
            generation is None
            or generation.large_bodies is None
            or not generation.large_bodies.path.fullmatch(scope["path"])
        ):
            await self._limited(scope, receive, send)
            return
        authenticate = generation.large_bodies.authenticate
        received = length_of(scope)
        if received > self._small:
            await authenticate(Request(scope))

        async def receive_of_caller() -> Message:
            nonlocal received
            message = await receive()
            before, received = received, received + len(message.get("body", b""))
            if before <= self._small < received:
                await authenticate(Request(scope))
            return message

        await self._large(scope, receive_of_caller, send)


def length_of(scope: Scope) -> int:
    """The announced length of the body; 0 where it has none, or one that `BodyLimit` refuses."""
    length = header_of(scope, b"content-length") or b"0"
    return int(length) if length.isdigit() and len(length) < 19 else 0
