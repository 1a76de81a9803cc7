"""What request handlers work with."""

from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import Request

from palaver.gateway.rates import GatewayRates
from palaver.gateway.upstream.auth import AuthClient
from palaver.gateway.upstream.health import UpstreamHealth
from palaver.gateway.upstream.messenger import MessengerClient
from palaver.gateway.upstream.revocations import Revocations
from palaver.runtime.settings.gateway import GatewaySettings
from palaver.runtime.tokens import TokenVerifier


@dataclass(frozen=True, slots=True)
class Services:
    """One gateway's parts, built once by the bootstrap. `is_attached`: whether the stream stands."""

    settings: GatewaySettings
    auth: AuthClient
    messenger: MessengerClient
    verifier: TokenVerifier
    revocations: Revocations
    upstreams: tuple[UpstreamHealth, ...]
    is_attached: Callable[[], bool]
    rates: GatewayRates


def services_of(request: Request) -> Services:
    """The parts of the gateway that serves the request."""
    services: Services = request.scope["app"].state.services
    return services
