"""What request handlers work with."""

from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import Request

from palaver.gateway.http.health import Upstream
from palaver.gateway.upstream.auth import Accounts
from palaver.gateway.upstream.messenger import Dialogs
from palaver.gateway.upstream.revocations import Revocations
from palaver.runtime.settings import GatewaySettings
from palaver.runtime.tokens import TokenVerifier


@dataclass(frozen=True, slots=True)
class Parts:
    """One gateway's parts, built once by the bootstrap."""

    settings: GatewaySettings
    accounts: Accounts
    dialogs: Dialogs
    verifier: TokenVerifier
    revocations: Revocations
    upstreams: tuple[Upstream, ...]
    # Whether the gateway's stream to the messenger stands
    is_attached: Callable[[], bool]


def parts_of(request: Request) -> Parts:
    """The parts of the gateway that serves the request."""
    parts: Parts = request.scope["app"].state.parts
    return parts
