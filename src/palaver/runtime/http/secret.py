"""Whether a request comes from inside the deployment."""

import msgspec
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from palaver.contracts.errors import UNAUTHENTICATED
from palaver.runtime.deployment_secret import HEADER, DeploymentSecret
from palaver.runtime.http.instrumentation import HEALTH_PATHS
from palaver.runtime.http.middleware import header_of

# What the refused response asks for (RFC 9110 §11.6.1): callers tell by it that not the user is unknown
CHALLENGE = "Palaver-Secret"
MESSAGE = "the deployment's secret is needed"
_HEADER = HEADER.encode()


class SecretRequired:
    """ASGI middleware that answers 401 without the deployment's secret, before anything is read or done.

    Health and metrics need none: probes have no secret.
    """

    def __init__(self, app: ASGIApp, secret: DeploymentSecret) -> None:
        self._app = app
        self._secret = secret

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request, or refuses it."""
        if self._is_let_in(scope):
            await self._app(scope, receive, send)
        else:
            await refusal()(scope, receive, send)

    def _is_let_in(self, scope: Scope) -> bool:
        if scope["type"] != "http" or scope["path"] in HEALTH_PATHS:
            return True
        return self._secret.accepts(header_of(scope, _HEADER) or b"")


def refusal() -> Response:
    """Problem details (RFC 9457), which are a `WireError` too."""
    kind = UNAUTHENTICATED
    body = {
        "type": "about:blank",
        "title": "Unauthorized",
        "status": kind.http,
        "detail": MESSAGE,
        "code": kind.code,
        "message": MESSAGE,
    }
    headers = {"www-authenticate": CHALLENGE}
    return Response(msgspec.json.encode(body), kind.http, headers, "application/problem+json")
