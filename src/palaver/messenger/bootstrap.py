"""Builds everything of the messenger, once, in order; nothing else does."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc.aio
import msgspec
from grpc_health.v1.health import aio

from palaver.contracts.errors import PalaverError
from palaver.contracts.messenger_methods import ATTACH
from palaver.contracts.messenger_pb2 import GatewayBatch
from palaver.messenger.authentication import SERVICE
from palaver.messenger.database import KIND, location_of
from palaver.messenger.realtime.bus import Bus, LocalBus, LogOnlyBus
from palaver.messenger.realtime.engine import Engine
from palaver.messenger.realtime.presence import InProcessPresence, Presence
from palaver.messenger.rpc import Rpc, add_messenger
from palaver.messenger.store.opening import open_store
from palaver.messenger.stream.reads import Reads
from palaver.messenger.stream.server import StreamServer
from palaver.messenger.use_cases import UseCases
from palaver.messenger.user_directory import UserDirectory
from palaver.messenger.user_rates import UserRates
from palaver.runtime.background import running
from palaver.runtime.deployment_secret import secret_of
from palaver.runtime.grpc.health import add_health_and_reflection, kept_health
from palaver.runtime.grpc.interceptors import DecodingInterceptor, SecretInterceptor, raising
from palaver.runtime.grpc.server import serving_grpc
from palaver.runtime.grpc.stream_server import Methods, StreamMethod, requiring, serving_streams
from palaver.runtime.http.health import health_app
from palaver.runtime.http.instrumentation import RequestInstrumentation
from palaver.runtime.http.repeated_calls import repeated_call
from palaver.runtime.http.rest_client import RestClient
from palaver.runtime.http.server import serving_http
from palaver.runtime.rate_limits import RateLimiter, TokenBuckets, Unlimited
from palaver.runtime.redis.opening import open_redis, rate_limiter
from palaver.runtime.settings import Settings
from palaver.runtime.settings.messenger import MessengerSettings
from palaver.runtime.sql import locations
from palaver.runtime.sql.health import is_usable
from palaver.runtime.telemetry.configuration import log
from palaver.runtime.tokens import TokenVerifier

if TYPE_CHECKING:
    from palaver.runtime.redis.client import RedisClient

# How long a stopping messenger waits for unary calls
GRACE_SECONDS = 5.0
AUTH_SECONDS = 2.0
# The same where another auth may be quicker
FIRST_AUTH_SECONDS = 0.7
# Of a user, on all sockets: each is shown for a second
TYPINGS_PER_SECOND, TYPINGS_BURST = 10, 50


async def serve(
    settings: Settings, stopping: asyncio.Event, ready: Callable[[int, int], None] | None = None
) -> None:
    """Serves until `stopping` is set, then drains. `ready` gets the HTTP and the gRPC port once both
    take connections.

    Raises `OSError` where a port is taken, `StartError`, and `SchemaTooNewError`.
    """
    own = settings.messenger
    secret = secret_of(settings)
    location = location_of(settings)
    await locations.migrate_database(location, KIND)
    async with contextlib.AsyncExitStack() as stack:
        store = open_store(location, own)
        stack.push_async_callback(store.close)
        if settings.archive.url:
            # Imported late: ClickHouse's driver takes a fifth of a second, which most starts need not pay
            from palaver.messenger.archive.opening import READ_SECONDS, open_nodes, with_archive

            nodes = open_nodes(settings.archive, READ_SECONDS)
            stack.push_async_callback(nodes.close)
            store = with_archive(store, nodes, settings.archive)
        await stack.enter_async_context(locations.upkeep(location))
        auth = RestClient(
            own.auth_url, AUTH_SECONDS, secret.sent, name="auth", first_timeout=FIRST_AUTH_SECONDS
        )
        stack.push_async_callback(auth.close)
        keys = SigningKeys(auth)
        verifier = TokenVerifier(keys.fetch, settings.auth.access_token_seconds)
        await stack.enter_async_context(running(verifier.follow_keys()))
        redis = await open_redis(own.redis_url, "messenger.redis_url", stack)
        bus, presence = await shared_adapters(location, redis, stack)
        rates = user_rates(own, redis)
        engine = Engine(store, bus, presence, rates, own)
        use_cases = UseCases(store, UserDirectory(auth), engine, rates, own)
        streams = StreamServer(
            engine, store, verifier, Reads(use_cases, verifier), own, settings.auth.refresh_token_seconds
        )
        health = aio.HealthServicer()
        checks = {
            "journal": lambda: is_usable(store.database),
            **locations.disk_checks(location),
            "auth": keys.were_heard,
        }

        def add_services(server: grpc.aio.Server) -> None:
            add_messenger(server, Rpc(use_cases), verifier, streams.attach)
            add_health_and_reflection(server, health, [SERVICE])

        # Before the servers: a gateway must not attach to an engine that does not know how far the log has
        # come
        stack.push_async_callback(engine.stop)
        await engine.start()
        app = RequestInstrumentation(
            health_app(checks, {"redis": redis.is_usable} if redis is not None else {}),
            is_edge=False,
            access_log=settings.telemetry.access_log,
        )
        http = await stack.enter_async_context(serving_http(app, own.host, own.http_port))
        _, grpc_port = await stack.enter_async_context(
            serving_grpc(
                add_services,
                own.host,
                own.grpc_port,
                GRACE_SECONDS,
                path=own.grpc_socket,
                interceptors=(SecretInterceptor(secret), DecodingInterceptor()),
            )
        )
        if own.stream_port or own.stream_socket:
            attach = StreamMethod(streams.attach, raising(GatewayBatch.FromString))
            methods = Methods({ATTACH: attach}, requiring(secret))
            await stack.enter_async_context(
                serving_streams(methods, own.host, own.stream_port, GRACE_SECONDS, path=own.stream_socket)
            )
        await stack.enter_async_context(kept_health(health, [SERVICE], checks))
        # Innermost: they end the gateways' streams, which the gRPC server would wait for; and the streams
        # after the engine, whose last answers they carry
        stack.push_async_callback(streams.stop)
        stack.push_async_callback(engine.stop)
        http_port = http.port
        log.info(
            "listening",
            host=own.host,
            http_port=http_port,
            grpc_port=grpc_port,
            grpc_socket=own.grpc_socket,
            stream_port=own.stream_port,
            stream_socket=own.stream_socket,
        )
        if ready is not None:
            ready(http_port, grpc_port)
        await stopping.wait()
        log.info("stopping")
    log.info("stopped")


async def shared_adapters(
    location: locations.Location, redis: "RedisClient | None", stack: contextlib.AsyncExitStack
) -> tuple[Bus, Presence]:
    """The bus and the presence of replicas that share a Redis, or of one that has none: a file is one
    messenger's, a schema may be several's."""
    if redis is None:
        bus = LocalBus() if isinstance(location, Path) else LogOnlyBus()
        return bus, InProcessPresence(time.monotonic)
    from palaver.messenger.realtime.redis.bus import RedisBus
    from palaver.messenger.realtime.redis.presence import RedisPresence

    presence = RedisPresence(redis)
    await stack.enter_async_context(running(presence.run()))
    return RedisBus(redis), presence


def user_rates(settings: MessengerSettings, redis: "RedisClient | None" = None) -> UserRates:
    """What a user may do, as the settings want it; on all replicas together where they share a Redis.

    Receipts and typings are not worth sharing: too many of them are merged or passed over, and not refused.
    """
    if not settings.rates:
        return UserRates(*[Unlimited() for _ in fields(UserRates)])

    def shared(name: str, per_second: float, burst: float) -> RateLimiter:
        return rate_limiter(redis, name, per_second, burst, lambda: asyncio.get_running_loop().time())

    return UserRates(
        messages=shared("messages", settings.messages_per_second, settings.messages_burst),
        changes=shared("changes", settings.changes_per_second, settings.changes_burst),
        chats=shared("chats", settings.chats_per_second, settings.chats_burst),
        members=shared("members", settings.members_per_second, settings.members_burst),
        receipts=TokenBuckets(settings.receipts_per_second, settings.receipts_burst),
        typings=TokenBuckets(TYPINGS_PER_SECOND, TYPINGS_BURST),
    )


def migrate_database(settings: Settings) -> bool:
    """Brings the database to the newest schema, making it where there is none. False: it was there already.

    Raises `StartError`. Not from a running event loop.
    """
    return asyncio.run(locations.migrate_database(location_of(settings), KIND))


class SigningKeys:
    """The keys with which auth signs."""

    def __init__(self, auth: RestClient) -> None:
        self._auth = auth
        self._heard = False

    async def fetch(self) -> dict[str, Any]:
        """Auth's JWKS document (RFC 7517). Raises `unavailable`."""
        content = await repeated_call(self._auth, "GET", "/.well-known/jwks.json")
        document: dict[str, Any] = msgspec.json.decode(content, type=dict)
        self._heard = True
        return document

    async def were_heard(self) -> bool:
        """Whether auth has ever answered. Later on the messenger does without it for most of its work, and
        an auth that restarts must not take it out of service."""
        if not self._heard:
            with contextlib.suppress(PalaverError, msgspec.DecodeError):
                await self.fetch()
        return self._heard
