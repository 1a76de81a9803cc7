"""The caller of a request: its access token, and the device that it came from."""

import re
from dataclasses import dataclass
from typing import Annotated

from fastapi import Security
from fastapi.openapi.models import APIKey, APIKeyIn, HTTPBearer
from fastapi.openapi.models import SecurityBase as Scheme
from fastapi.security.base import SecurityBase
from starlette.requests import Request

from palaver.contracts.errors import SESSION_REVOKED, UNAUTHENTICATED, PalaverError
from palaver.contracts.ids import text_from_id
from palaver.gateway.services import services_of
from palaver.gateway.upstream.auth import Client
from palaver.runtime.addresses import address_key
from palaver.runtime.http.instrumentation import AGENT_CHARACTERS
from palaver.runtime.http.middleware import header_of
from palaver.runtime.printable import printable
from palaver.runtime.requester import SERVICE, requester, work_for
from palaver.runtime.telemetry.log_context import bind_field

# JWS compact form (RFC 7515 §7.1). The library behind the verifier passes over other characters in the
# signature, and those would break the headers that carry the token on.
_TOKEN = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)
ADDRESS_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class Caller:
    """The user of a request whose token is good. The token goes on to the services, which verify it too."""

    user_id: bytes
    session_id: bytes
    token: str


class AccessToken(SecurityBase):
    """The caller by the `authorization` header; a security scheme of the OpenAPI document too.

    Raises `unauthenticated`, `session_revoked`.
    """

    def __init__(self, name: str, scheme: Scheme, *, bare: bool) -> None:
        self.scheme_name = name
        self.model = scheme
        self._bare = bare

    async def __call__(self, request: Request) -> Caller:
        """Nearly always without waiting: a token that was seen before is known."""
        token = read_token(request, bare=self._bare)
        services = services_of(request)
        claims = services.verifier.verify_known(token) or await services.verifier.verify(token)
        if services.revocations.is_ended(claims.session_id):
            raise PalaverError(SESSION_REVOKED)
        bind_field("user_id", text_from_id(claims.user_id))
        work_for(claims.user_id)
        return Caller(claims.user_id, claims.session_id, token)


def read_token(request: Request, *, bare: bool) -> str:
    """The token of the `authorization` header (RFC 6750 §2.1); `bare`: old clients leave out the scheme.

    Raises `unauthenticated`.
    """
    header = header_of(request.scope, b"authorization")
    if header is None:
        raise PalaverError(UNAUTHENTICATED, "the request has no access token")
    scheme, _, token = header.decode("latin-1").strip().rpartition(" ")
    wanted = scheme.strip().lower() == "bearer" or (bare and not scheme)
    if wanted and _TOKEN.fullmatch(token):
        return token
    raise PalaverError(UNAUTHENTICATED, "the authorization header holds no access token")


BEARER = AccessToken(
    "bearer",
    HTTPBearer(description="The access token of `POST /v2/sessions`.", bearerFormat="JWT"),
    bare=False,
)
BARE_TOKEN = AccessToken(
    "bare-token",
    APIKey.model_validate(
        {
            "in": APIKeyIn.header,
            "name": "Authorization",
            "description": "The access token of `POST /auth/sign-in`, with or without `Bearer`.",
        }
    ),
    bare=True,
)

BearerCaller = Annotated[Caller, Security(BEARER)]
LegacyCaller = Annotated[Caller, Security(BARE_TOKEN)]


def client_of(request: Request) -> Client:
    """The device of a request. Its address is the one that a trusted proxy names, if one does.

    Without a user the request is that address's from now on.
    """
    address = request.client.host if request.client else ""
    if requester() == SERVICE:
        work_for(address_key(address))
    agent = request.headers.get("user-agent", "")
    return Client(
        printable(address, ADDRESS_CHARACTERS, ascii_only=True),
        printable(agent, AGENT_CHARACTERS, ascii_only=True),
    )
