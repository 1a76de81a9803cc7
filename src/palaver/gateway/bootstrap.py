"""Builds the gateway's parts and wires them; nothing else does."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette

from palaver.contracts.messenger_methods import ATTACH
from palaver.contracts.messenger_pb2 import MessengerBatch
from palaver.gateway.app import build_app
from palaver.gateway.generations.served import served_generations
from palaver.gateway.rates import GatewayRates
from palaver.gateway.services import Services
from palaver.gateway.sockets.fan_out import FanOut
from palaver.gateway.sockets.registry import SocketRegistry
from palaver.gateway.sockets.server import SocketServer
from palaver.gateway.upstream.auth import AuthClient
from palaver.gateway.upstream.health import UpstreamHealth
from palaver.gateway.upstream.messenger import MessengerClient, messenger_channels
from palaver.gateway.upstream.outbox import Outbox
from palaver.gateway.upstream.pending_reads import PendingReads
from palaver.gateway.upstream.pending_sends import PendingSends
from palaver.gateway.upstream.revocations import Revocations
from palaver.gateway.upstream.stream import MessengerStream
from palaver.runtime.background import running
from palaver.runtime.deployment_secret import secret_metadata, secret_of
from palaver.runtime.grpc.replica_streams import ReplicaStreams
from palaver.runtime.http.client_addresses import ClientAddresses, TrustedProxies
from palaver.runtime.http.health import health_routes
from palaver.runtime.http.instrumentation import RequestInstrumentation
from palaver.runtime.http.listener import Bounds
from palaver.runtime.http.middleware import ResponseHeaders
from palaver.runtime.http.rest_client import RestClient
from palaver.runtime.http.server import Server, serving_http
from palaver.runtime.rate_limits import RateLimiter, Unlimited
from palaver.runtime.redis.opening import open_redis, rate_limiter
from palaver.runtime.replicas.replicas import Replicas
from palaver.runtime.settings import Settings
from palaver.runtime.settings.gateway import GatewaySettings
from palaver.runtime.telemetry.configuration import log
from palaver.runtime.tokens import LEEWAY_SECONDS, TokenVerifier

if TYPE_CHECKING:
    from palaver.runtime.redis.client import RedisClient

HEALTH_SECONDS = 2.0
# Anybody may ask for readiness: what asks the services for it must not use up the files of the inside
HEALTH_CONNECTIONS = 4
KEEP_ALIVE_SECONDS = 75
# Messages that may wait for the messenger, about
IN_FLIGHT_BYTES = 64 * 1024 * 1024
# The largest batch of the messenger's that is taken: one page of history may be long
BATCH_BYTES = 128 * 1024 * 1024
# An auth that is slow to answer keeps a gateway from starting for no longer than this
CATCH_UP_SECONDS = 2.0


async def serve(
    settings: Settings, stopping: asyncio.Event, ready: Callable[[int, int], None] | None = None
) -> None:
    """Serves until `stopping` is set, then drains. `ready` gets the public and the private
    port once connections are taken.

    Raises `OSError` where the port is taken.
    """
    own = settings.gateway
    secret = secret_of(settings)
    generations = served_generations(own)
    async with contextlib.AsyncExitStack() as stack:
        auth = await stack.enter_async_context(
            rest_client(RestClient(own.auth_url, secret=secret.sent, name="auth"))
        )
        health = [
            UpstreamHealth("auth", await stack.enter_async_context(health_client(own.auth_url))),
            UpstreamHealth("messenger", await stack.enter_async_context(health_client(own.messenger_url))),
        ]
        channels = await stack.enter_async_context(
            messenger_channels(Replicas(own.messenger_target, "messenger"))
        )
        accounts = AuthClient(auth)
        registry = SocketRegistry(own)
        token_seconds = settings.auth.access_token_seconds
        verifier = TokenVerifier(accounts.keys, token_seconds, key_revoked=registry.close_key)
        revocations = Revocations(accounts, token_seconds + LEEWAY_SECONDS, registry.close_session)
        outbox = Outbox()
        sends, reads = PendingSends(own.frames_in_flight, IN_FLIGHT_BYTES), PendingReads(outbox)
        fan_out = FanOut(registry, outbox)
        stream = MessengerStream(stream_client(own, secret.sent), outbox, sends, reads, fan_out)
        # Behind the HTTP server, whose last requests read from it
        stack.push_async_callback(stream.stop)
        redis = await open_redis(own.redis_url, "gateway.redis_url", stack)
        rates = gateway_rates(own, redis)
        await rates.start()
        stack.push_async_callback(rates.stop)
        sockets = SocketServer(
            own,
            generations,
            verifier,
            revocations,
            registry,
            rates,
            outbox,
            fan_out,
            stream,
            access_log=settings.telemetry.access_log,
        )
        services = Services(
            own,
            accounts,
            MessengerClient(channels, reads, secret.sent),
            verifier,
            revocations,
            tuple(health),
            lambda: stream.is_attached,
            rates,
        )
        await revocations.catch_up(CATCH_UP_SECONDS)
        await stack.enter_async_context(running(revocations.run()))
        await stack.enter_async_context(running(verifier.follow_keys()))
        await sockets.start()
        options: dict[str, Any] = {
            "ws": sockets.protocol,
            # Done by `ClientAddresses`, for sockets too
            "proxy_headers": False,
            # Longer than proxies keep theirs: of two that close at once, one has just sent a request
            "timeout_keep_alive": KEEP_ALIVE_SECONDS,
            "timeout_graceful_shutdown": own.drain_seconds,
        }
        app = RequestInstrumentation(
            build_app(services, generations),
            is_edge=True,
            access_log=settings.telemetry.access_log,
            generation_of=generations.name_of,
        )
        metrics = await stack.enter_async_context(serving_metrics(settings, redis))
        proxies = TrustedProxies(own.trusted_proxies)
        bounds = Bounds(own.connections, own.connections_per_address, proxies.trusts)
        public = ClientAddresses(app, proxies)
        async with serving_http(public, own.host, own.port, bounds=bounds, **options) as server:
            log.info("listening", host=own.host, port=server.port, private_port=metrics.port)
            if ready is not None:
                ready(server.port, metrics.port)
            await stopping.wait()
            # From here on nobody new comes in; requests in flight are answered while the sockets drain
            for listener in server.servers:
                listener.close()
            await sockets.stop()
        log.info("stopped")


def stream_client(settings: GatewaySettings, secret: str) -> ReplicaStreams:
    """What opens the one stream to a messenger."""
    return ReplicaStreams(
        Replicas(settings.messenger_stream or settings.messenger_target, "messenger-stream"),
        ATTACH,
        MessengerBatch.FromString,
        BATCH_BYTES,
        secret_metadata(secret),
    )


def serving_metrics(
    settings: Settings, redis: "RedisClient | None"
) -> contextlib.AbstractAsyncContextManager[Server]:
    """Serves metrics and liveness on the private port. Raises `OSError` where it is taken."""
    routes = health_routes({}, {"redis": redis.is_usable} if redis is not None else {})
    app = RequestInstrumentation(
        ResponseHeaders(Starlette(routes=routes)),
        is_edge=False,
        access_log=settings.telemetry.access_log,
    )
    return serving_http(app, settings.gateway.private_host, settings.gateway.private_port)


def gateway_rates(settings: GatewaySettings, redis: "RedisClient | None" = None) -> GatewayRates:
    """What an address and a user may do at the door, as the settings want it; at all gateways together where
    they share a Redis."""
    if not settings.rates:
        return GatewayRates(Unlimited(), Unlimited())

    def limiter(name: str, per_second: float, burst: float) -> RateLimiter:
        return rate_limiter(redis, name, per_second, burst, lambda: asyncio.get_running_loop().time())

    return GatewayRates(
        requests=limiter("requests", settings.requests_per_second, settings.requests_burst),
        sockets=limiter("sockets", settings.sockets_per_minute / 60, settings.sockets_burst),
    )


def health_client(url: str) -> contextlib.AbstractAsyncContextManager[RestClient]:
    """A client that asks a service whether it is ready."""
    return rest_client(RestClient(url, HEALTH_SECONDS, connections=HEALTH_CONNECTIONS))


@contextlib.asynccontextmanager
async def rest_client(client: RestClient) -> AsyncIterator[RestClient]:
    """A client that is closed with the block."""
    try:
        yield client
    finally:
        await client.close()
