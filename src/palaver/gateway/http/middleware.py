"""What content types requests may have. Plain ASGI: a wrapper costs microseconds."""

import re

from starlette.types import ASGIApp, Receive, Scope, Send

from palaver.contracts.errors import UNSUPPORTED_DATA, PalaverError
from palaver.gateway.http.errors import is_old_path
from palaver.runtime.http.middleware import header_of

_JSON = re.compile(rb"\s*application/([!-.0-~]+\+)?json\s*(;.*)?", re.IGNORECASE)
_WITH_BODY = frozenset(("POST", "PUT", "PATCH"))
_CONTENT_TYPE = (b"content-type", b"application/json")


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
