"""Builds everything of the messenger, once, in order; nothing else does."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

import grpc.aio
import msgspec
from grpc_health.v1.health import aio

from palaver.contracts.errors import PalaverError
from palaver.contracts.messenger_methods import ATTACH
from palaver.contracts.messenger_pb2 import GatewayBatch
from palaver.messenger.authentication import SERVICE
from palaver.messenger.database import KIND, file_of
from palaver.messenger.migrations import MIGRATIONS
from palaver.messenger.realtime.bus import LocalBus
from palaver.messenger.realtime.engine import Engine
from palaver.messenger.realtime.presence import InProcessPresence
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
from palaver.runtime.http.rest_client import RestClient
from palaver.runtime.http.server import serving_http
from palaver.runtime.rate_limits import RateLimiter, TokenBuckets, Unlimited
from palaver.runtime.settings import Settings
from palaver.runtime.settings.messenger import MessengerSettings
from palaver.runtime.sql.database_file import opening, prepare_file
from palaver.runtime.sql.health import has_free_space, is_usable
from palaver.runtime.sql.log_file import keep_log_small
from palaver.runtime.sql.migrations import migrate
from palaver.runtime.sql.sqlite import sqlite_engine
from palaver.runtime.telemetry.configuration import log
from palaver.runtime.tokens import TokenVerifier

# How long a stopping messenger waits for unary calls
GRACE_SECONDS = 5.0
AUTH_SECONDS = 2.0
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
    await asyncio.to_thread(migrate_database, settings)
    async with contextlib.AsyncExitStack() as stack:
        file = file_of(settings)
        store = open_store(file)
        stack.push_async_callback(store.close)
        if settings.archive.url:
            # Imported late: ClickHouse's driver takes a fifth of a second, which most starts need not pay
            from palaver.messenger.archive.opening import READ_SECONDS, open_nodes, with_archive

            nodes = open_nodes(settings.archive, READ_SECONDS)
            stack.push_async_callback(nodes.close)
            store = with_archive(store, nodes, settings.archive)
        await stack.enter_async_context(running(keep_log_small(file)))
        auth = RestClient(own.auth_url, AUTH_SECONDS, secret.sent)
        stack.push_async_callback(auth.close)
        keys = SigningKeys(auth)
        verifier = TokenVerifier(keys.fetch, settings.auth.access_token_seconds)
        await stack.enter_async_context(running(verifier.follow_keys()))
        rates = user_rates(own)
        engine = Engine(store, LocalBus(), InProcessPresence(time.monotonic), rates, own)
        use_cases = UseCases(store, UserDirectory(auth), engine, rates, own)
        streams = StreamServer(
            engine, store, verifier, Reads(use_cases, verifier), own, settings.auth.refresh_token_seconds
        )
        health = aio.HealthServicer()
        checks = {
            "journal": lambda: is_usable(store.database),
            "disk": lambda: has_free_space(file),
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
            health_app(checks), is_edge=False, access_log=settings.telemetry.access_log
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


def user_rates(settings: MessengerSettings) -> UserRates:
    """What a user may do, as the settings want it."""

    def limiter(per_second: float, burst: float) -> RateLimiter:
        return TokenBuckets(per_second, burst) if settings.rates else Unlimited()

    return UserRates(
        messages=limiter(settings.messages_per_second, settings.messages_burst),
        changes=limiter(settings.changes_per_second, settings.changes_burst),
        chats=limiter(settings.chats_per_second, settings.chats_burst),
        members=limiter(settings.members_per_second, settings.members_burst),
        receipts=limiter(settings.receipts_per_second, settings.receipts_burst),
        typings=limiter(TYPINGS_PER_SECOND, TYPINGS_BURST),
    )


def migrate_database(settings: Settings) -> bool:
    """Brings the database to the newest schema, making it where there is none. False: it was there already.

    Raises `SchemaTooNewError`, and `StartError` for a database that is not of this kind.
    """
    file = file_of(settings)
    prepare_file(file, KIND)
    with opening(file):
        engine = sqlite_engine(file)
        try:
            with engine.connect() as connection, connection.begin():
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                return migrate(connection, MIGRATIONS)
        finally:
            engine.dispose()


class SigningKeys:
    """The keys with which auth signs."""

    def __init__(self, auth: RestClient) -> None:
        self._auth = auth
        self._heard = False

    async def fetch(self) -> dict[str, Any]:
        """Auth's JWKS document (RFC 7517). Raises `unavailable`."""
        content = await self._auth.call("GET", "/.well-known/jwks.json")
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
