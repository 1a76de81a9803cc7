"""Who may open a socket."""

import asyncio
import time
from dataclasses import replace
from http import HTTPStatus
from typing import Protocol

from palaver.contracts.errors import (
    FORBIDDEN,
    INTERNAL,
    NOT_FOUND,
    RATE_LIMITED,
    RESTARTING,
    SESSION_REVOKED,
    UNAUTHENTICATED,
    PalaverError,
)
from palaver.contracts.ids import text_from_id
from palaver.gateway import metrics
from palaver.gateway.generations.registry import GenerationRegistry
from palaver.gateway.rates import GatewayRates
from palaver.gateway.sockets.registry import SocketRegistry
from palaver.gateway.sockets.socket import SocketHandler
from palaver.gateway.sockets.upgrade import (
    HANDSHAKE_SECONDS,
    HandshakeRequest,
    check_handshake,
    http_response,
)
from palaver.gateway.sockets.websocket import WebSocket
from palaver.runtime.http.client_addresses import TrustedProxies
from palaver.runtime.http.instrumentation import AGENT_CHARACTERS, UNKNOWN, count
from palaver.runtime.printable import printable
from palaver.runtime.telemetry.configuration import log
from palaver.runtime.telemetry.tracing import ActiveSpan, tracer
from palaver.runtime.tokens import Claims, TokenVerifier


class EndedSessions(Protocol):
    """Knows which sessions were revoked."""

    def is_ended(self, session_id: bytes) -> bool:
        """Whether a session was revoked."""
        ...


class Handshakes:
    """Decides on requests to open a socket, and logs, counts and traces them as any other request.

    `is_open`: False once the gateway is stopping.
    """

    def __init__(
        self,
        generations: GenerationRegistry,
        verifier: TokenVerifier,
        ended: EndedSessions,
        registry: SocketRegistry,
        rates: GatewayRates,
        handler: SocketHandler,
        *,
        access_log: bool,
    ) -> None:
        self._generations = generations
        self._verifier = verifier
        self._ended = ended
        self._registry = registry
        self._rates = rates
        self._handler = handler
        self._access_log = access_log
        self._origins = registry.settings.cors_origins
        self._proxies = TrustedProxies(registry.settings.trusted_proxies)
        self.is_open = True

    async def decide(self, request: HandshakeRequest) -> WebSocket | bytes:
        """The WebSocket of a new socket, or the HTTP response that refuses it."""
        began = time.perf_counter()
        forwarded = request.headers.get("x-forwarded-for", "")
        request = replace(request, address=self._proxies.client_address(request.address, [forwarded]))
        codec = self._generations.codec_at(request.path)
        route = request.path if codec is not None else UNKNOWN
        user_id = ""
        with tracer.serve(f"GET {route}", request.headers.get("traceparent", ""), {}, is_edge=True) as span:
            decision: WebSocket | bytes
            try:
                if codec is None:
                    decision = await self._upgrade_elsewhere(request)
                else:
                    self._check_origin(request.headers.get("origin"))
                    if "sec-websocket-version" in request.headers:
                        check_handshake(request.headers)
                    async with asyncio.timeout(HANDSHAKE_SECONDS):
                        claims = await self._authenticate(request)
                    # What is no WebSocket client at all learns first that its token is bad
                    check_handshake(request.headers)
                    user_id = text_from_id(claims.user_id)
                    token = token_of(request)
                    decision = self._registry.create(self._handler, codec, token, claims).websocket
            except Exception as error:
                if not isinstance(error, PalaverError):
                    log.exception("upgrade_failed")
                known = error if isinstance(error, PalaverError) else PalaverError(INTERNAL)
                decision = self._refuse(request, known, span)
            self._record(request, route, status_of(decision), time.perf_counter() - began, user_id, span)
        return decision

    def _check_origin(self, origin: str | None) -> None:
        """CORS does not hold for sockets: the browser only says which page opens one, and programs say none.

        Raises `forbidden`.
        """
        if origin is not None and self._origins and not {origin, "*"}.intersection(self._origins):
            raise PalaverError(FORBIDDEN, "pages of this origin may not open sockets")

    async def _upgrade_elsewhere(self, request: HandshakeRequest) -> WebSocket | bytes:
        """An upgrade where no generation has sockets: its fallback's, if no generation owns the path."""
        if self._generations.generation_of(request.path) is not None:
            raise PalaverError(NOT_FOUND, "no socket here")
        return await self._generations.fallback_of(request.path).upgrade(request)

    async def _authenticate(self, request: HandshakeRequest) -> Claims:
        if not self.is_open:
            raise PalaverError(RESTARTING, retry_after=1.0)
        self._rates.count_request(request.address)
        claims = await self._verifier.verify(token_of(request))
        if self._ended.is_ended(claims.session_id):
            raise PalaverError(SESSION_REVOKED)
        if self._registry.of_user[claims.user_id] >= self._registry.settings.sockets_per_user:
            raise PalaverError(RATE_LIMITED, "too many open sockets", retry_after=10.0)
        self._rates.count_socket(claims.user_id)
        return claims

    def _refuse(self, request: HandshakeRequest, error: PalaverError, span: ActiveSpan) -> bytes:
        metrics.UPGRADES_REFUSED.labels(error.kind.code).inc()
        if error.kind.http >= HTTPStatus.INTERNAL_SERVER_ERROR:
            span.error = error.kind.code
        shown = self._generations.owner_of(request.path).errors(error, (), span.trace_id)
        return http_response(
            shown.status, shown.body, shown.content_type, error.retry_after, span.traceparent
        )

    def _record(
        self,
        request: HandshakeRequest,
        route: str,
        status: int,
        seconds: float,
        user_id: str,
        span: ActiveSpan,
    ) -> None:
        name = self._generations.name_of(request.path)
        agent = printable(request.headers.get("user-agent", ""), AGENT_CHARACTERS)
        count(route, "GET", status, name, seconds)
        span.attributes.update(
            {
                "http.request.method": "GET",
                "http.route": route,
                "http.response.status_code": status,
                "network.protocol.name": "websocket",
                "client.address": request.address,
                "user_agent.original": agent,
                "palaver.generation": name,
            }
        )
        if user_id:
            span.attributes["user.id"] = user_id
        if self._access_log:
            log.info(
                "request",
                method="GET",
                route=route,
                status=status,
                duration_ms=round(seconds * 1000, 3),
                generation=name,
                agent=agent,
                **({"user_id": user_id} if user_id else {}),
            )


def status_of(decision: WebSocket | bytes) -> int:
    """The HTTP status of the response to an upgrade."""
    if isinstance(decision, bytes):
        return int(decision.split(b" ", 2)[1])
    return HTTPStatus.SWITCHING_PROTOCOLS.value


def token_of(request: HandshakeRequest) -> str:
    """The access token of an upgrade: a header, with or without `Bearer`, or the query's `token`.

    Raises `unauthenticated`.
    """
    token = request.headers.get("authorization", "") or request.query.get("token", "")
    if token[:7].lower() == "bearer ":
        token = token[7:]
    if not token:
        raise PalaverError(UNAUTHENTICATED, "an access token is needed")
    return token.strip()
