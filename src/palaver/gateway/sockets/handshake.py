"""Who may open a socket."""

import asyncio
import time
from collections.abc import Mapping
from typing import Protocol

from palaver.contracts.errors import (
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
from palaver.gateway.sockets.commands import Generation
from palaver.gateway.sockets.registry import Serves, Socket, SocketRegistry
from palaver.gateway.sockets.websocket import HANDSHAKE_SECONDS, HandshakeRequest, WebSocket, http_answer
from palaver.runtime.http.instrumentation import AGENT_CHARACTERS, UNKNOWN, count
from palaver.runtime.telemetry.configuration import log
from palaver.runtime.telemetry.tracing import ActiveSpan, tracer
from palaver.runtime.tokens import Claims, TokenVerifier

SWITCHING_PROTOCOLS = 101


class EndedSessions(Protocol):
    """Knows which sessions were revoked."""

    def is_ended(self, session_id: bytes) -> bool:
        """Whether a session was revoked."""
        ...


class Handshakes:
    """Decides on requests to open a socket, and writes them down as any other request.

    `generations`: by path. `is_open`: False once the gateway is stopping.
    """

    def __init__(
        self,
        generations: Mapping[str, Generation],
        verifier: TokenVerifier,
        ended: EndedSessions,
        peers: SocketRegistry,
        server: Serves,
        *,
        access_log: bool,
    ) -> None:
        self._generations = generations
        self._verifier = verifier
        self._ended = ended
        self._peers = peers
        self._server = server
        self._access_log = access_log
        self.is_open = True

    async def decide(self, request: HandshakeRequest) -> WebSocket | bytes:
        """The socket's wire, or the HTTP answer that refuses it."""
        began = time.perf_counter()
        generation = self._generations.get(request.path)
        route = request.path if generation is not None else UNKNOWN
        user_id = ""
        with tracer.serve(f"GET {route}", request.headers.get("traceparent", ""), {}, is_edge=True) as work:
            answer: WebSocket | bytes
            try:
                async with asyncio.timeout(HANDSHAKE_SECONDS):
                    claims = await self._admit(generation, request)
                user_id = text_from_id(claims.user_id)
                assert generation is not None
                answer = Socket(self._server, self._peers, generation, token_of(request), claims).wire
                status = SWITCHING_PROTOCOLS
            except Exception as error:
                if not isinstance(error, PalaverError):
                    log.exception("upgrade_failed")
                known = error if isinstance(error, PalaverError) else PalaverError(INTERNAL)
                status, answer = self._refuse(generation, known, work)
            self._tell(request, route, generation, status, time.perf_counter() - began, user_id, work)
        return answer

    async def _admit(self, generation: Generation | None, request: HandshakeRequest) -> Claims:
        if generation is None:
            raise PalaverError(NOT_FOUND, "no socket here")
        if not self.is_open:
            raise PalaverError(RESTARTING, retry_after=1.0)
        claims = await self._verifier.verify(token_of(request))
        if self._ended.is_ended(claims.session_id):
            raise PalaverError(SESSION_REVOKED)
        if self._peers.of_user[claims.user_id] >= self._peers.settings.sockets_per_user:
            raise PalaverError(RATE_LIMITED, "too many open sockets", retry_after=10.0)
        return claims

    def _refuse(
        self, generation: Generation | None, error: PalaverError, work: ActiveSpan
    ) -> tuple[int, bytes]:
        metrics.UPGRADES_REFUSED.labels(error.kind.code).inc()
        if error.kind.http >= 500:
            work.error = error.kind.code
        shown = generation or self._generations["/v2/ws"]
        status, content_type, body = shown.refusal(error)
        return status, http_answer(status, body, content_type, error.retry_after, work.traceparent)

    def _tell(
        self,
        request: HandshakeRequest,
        route: str,
        generation: Generation | None,
        status: int,
        seconds: float,
        user_id: str,
        work: ActiveSpan,
    ) -> None:
        name = generation.name if generation is not None else "none"
        agent = request.headers.get("user-agent", "")[:AGENT_CHARACTERS]
        count(route, "GET", status, name, seconds)
        work.attributes.update(
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
            work.attributes["user.id"] = user_id
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
