"""The last fallback: nothing is here."""

from typing import NoReturn

from starlette.types import Receive, Scope, Send

from palaver.contracts.errors import NOT_FOUND, PalaverError
from palaver.gateway.http.error_shape import ErrorShape
from palaver.gateway.http.problem_details import problem_details
from palaver.gateway.sockets.upgrade import HandshakeRequest


class NotFound:
    """Implements `Fallback`: owns every path, and has nothing at any."""

    name = "none"
    errors: ErrorShape = staticmethod(problem_details)

    def owns(self, path: str) -> bool:  # noqa: ARG002 - the signature is Fallback's, here and below
        """Every path."""
        return True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> NoReturn:  # noqa: ARG002
        """Raises `not_found`."""
        raise PalaverError(NOT_FOUND)

    async def upgrade(self, request: HandshakeRequest) -> NoReturn:  # noqa: ARG002
        """Raises `not_found`."""
        raise PalaverError(NOT_FOUND, "no socket here")
