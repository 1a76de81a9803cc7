"""Builds the gateway's parts and wires them; nothing else does."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from palaver.gateway.app import build_app
from palaver.gateway.generations.served import served_generations
from palaver.gateway.services import Services
from palaver.gateway.sockets.fan_out import FanOut
from palaver.gateway.sockets.registry import SocketRegistry
from palaver.gateway.sockets.server import SocketServer
from palaver.gateway.upstream.auth import AuthClient
from palaver.gateway.upstream.health import UpstreamHealth
from palaver.gateway.upstream.messenger import MessengerClient, open_channel
from palaver.gateway.upstream.outbox import Outbox
from palaver.gateway.upstream.pending_reads import PendingReads
from palaver.gateway.upstream.pending_sends import PendingSends
from palaver.gateway.upstream.revocations import Revocations
from palaver.gateway.upstream.stream import MessengerStream
from palaver.runtime.deployment_secret import secret_of
from palaver.runtime.http.instrumentation import RequestInstrumentation
from palaver.runtime.http.rest_client import RestClient
from palaver.runtime.http.server import serving_http
from palaver.runtime.settings import Settings
from palaver.runtime.telemetry.configuration import log
from palaver.runtime.tokens import LEEWAY_SECONDS, TokenVerifier

HEALTH_SECONDS = 2.0
KEEP_ALIVE_SECONDS = 75
# Messages that may wait for the messenger, about
IN_FLIGHT_BYTES = 64 * 1024 * 1024
# An auth that is slow to answer keeps a gateway from starting for no longer than this
CATCH_UP_SECONDS = 2.0


async def serve(
    settings: Settings, stopping: asyncio.Event, ready: Callable[[int], None] | None = None
) -> None:
    """Serves until `stopping` is set, then drains. `ready` gets the port once connections are taken.

    Raises `OSError` where the port is taken.
    """
    own = settings.gateway
    secret = secret_of(settings)
    generations = served_generations(own)
    async with contextlib.AsyncExitStack() as stack:
        auth = await stack.enter_async_context(rest_client(own.auth_url, secret=secret.sent))
        health = [
            UpstreamHealth(
                "auth", await stack.enter_async_context(rest_client(own.auth_url, HEALTH_SECONDS))
            ),
            UpstreamHealth(
                "messenger", await stack.enter_async_context(rest_client(own.messenger_url, HEALTH_SECONDS))
            ),
        ]
        channel = await stack.enter_async_context(open_channel(own.messenger_target))
        accounts = AuthClient(auth)
        verifier = TokenVerifier(accounts.keys)
        registry = SocketRegistry(own)
        revocations = Revocations(
            accounts, settings.auth.access_token_seconds + LEEWAY_SECONDS, registry.close_session
        )
        outbox = Outbox()
        sends, reads = PendingSends(own.frames_in_flight, IN_FLIGHT_BYTES), PendingReads(outbox)
        fan_out = FanOut(registry, outbox)
        stream = MessengerStream(channel, outbox, sends, reads, fan_out, secret.sent)
        # Behind the HTTP server, whose last requests read from it
        stack.push_async_callback(stream.stop)
        sockets = SocketServer(
            own,
            generations,
            verifier,
            revocations,
            registry,
            outbox,
            fan_out,
            stream,
            access_log=settings.telemetry.access_log,
        )
        services = Services(
            own,
            accounts,
            MessengerClient(channel, reads, secret.sent),
            verifier,
            revocations,
            tuple(health),
            lambda: stream.is_attached,
        )
        await revocations.catch_up(CATCH_UP_SECONDS)
        await stack.enter_async_context(running(revocations.run()))
        await sockets.start()
        options: dict[str, Any] = {
            "ws": sockets.protocol,
            "proxy_headers": True,
            # Longer than proxies keep theirs: of two that close at once, one has just sent a request
            "timeout_keep_alive": KEEP_ALIVE_SECONDS,
            "forwarded_allow_ips": own.trusted_proxies,
            "timeout_graceful_shutdown": own.drain_seconds,
        }
        app = RequestInstrumentation(
            build_app(services, generations),
            is_edge=True,
            access_log=settings.telemetry.access_log,
            generation_of=generations.name_of,
        )
        async with serving_http(app, own.host, own.port, **options) as server:
            log.info("listening", host=own.host, port=server.port)
            if ready is not None:
                ready(server.port)
            await stopping.wait()
            # From here on nobody new comes in; requests in flight are answered while the sockets drain
            for listener in server.servers:
                listener.close()
            await sockets.stop()
        log.info("stopped")


@contextlib.asynccontextmanager
async def rest_client(url: str, seconds: float = 10.0, secret: str = "") -> AsyncIterator[RestClient]:
    """A client that is closed with the block."""
    client = RestClient(url, seconds, secret)
    try:
        yield client
    finally:
        await client.close()


@contextlib.asynccontextmanager
async def running(work: Any) -> AsyncIterator[None]:
    """Runs `work` beside the block, and cancels it at its end."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
