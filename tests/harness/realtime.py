"""The messenger's live part and the gateway's sockets in the test's process: real engines, servers and
sockets.

`running_replica` runs a replica, `serving_replica` one behind gRPC, `running_gateway` the sockets over HTTP.
"""

import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

from palaver.contracts.messenger_methods import ATTACH
from palaver.contracts.messenger_pb2 import GatewayBatch, MessengerBatch
from palaver.gateway.bootstrap import IN_FLIGHT_BYTES
from palaver.gateway.generations.registry import GenerationRegistry
from palaver.gateway.generations.served import served_generations
from palaver.gateway.rates import GatewayRates
from palaver.gateway.sockets.fan_out import FanOut
from palaver.gateway.sockets.registry import SocketRegistry
from palaver.gateway.sockets.server import SocketServer
from palaver.gateway.upstream.outbox import Outbox
from palaver.gateway.upstream.pending_reads import PendingReads
from palaver.gateway.upstream.pending_sends import PendingSends
from palaver.gateway.upstream.stream import MessengerStream
from palaver.messenger.bootstrap import user_rates
from palaver.messenger.realtime.bus import Bus, InProcessBus, LocalBus
from palaver.messenger.realtime.engine import Engine
from palaver.messenger.realtime.presence import InProcessPresence, Presence
from palaver.messenger.realtime.redis.bus import RedisBus
from palaver.messenger.realtime.redis.presence import RedisPresence
from palaver.messenger.store.journal import Journal
from palaver.messenger.store.opening import Store
from palaver.messenger.stream.reads import Reads
from palaver.messenger.stream.server import StreamServer
from palaver.messenger.use_cases import UseCases
from palaver.messenger.user_directory import UserDirectory
from palaver.runtime.background import running
from palaver.runtime.grpc.server import MESSAGE_BYTES
from palaver.runtime.grpc.stream_client import StreamClient
from palaver.runtime.grpc.stream_server import Methods, StreamMethod, serving_streams
from palaver.runtime.http.server import serving_http
from palaver.runtime.rate_limits import Unlimited
from palaver.runtime.settings.gateway import GatewaySettings
from palaver.runtime.settings.messenger import MessengerSettings
from palaver.runtime.tokens import TokenVerifier
from tests.harness.keys import Keys
from tests.harness.messenger_database import MessengerDatabase
from tests.harness.redis import RedisServer, redis_client

HOST = "127.0.0.1"


class NoAuth:
    """An auth that must not be called."""

    async def call(self, _method: str, path: str, **_: Any) -> bytes:
        """Fails."""
        raise AssertionError(f"auth was called: {path}")


class Replica:
    """The live part of a messenger: an engine, its use cases, and the gateways' streams."""

    def __init__(
        self, store: Store, verifier: TokenVerifier, bus: Bus, presence: Presence, settings: MessengerSettings
    ) -> None:
        rates = user_rates(settings)
        self.store = store
        self.engine = Engine(store, bus, presence, rates, settings)
        directory = UserDirectory(NoAuth())  # type: ignore[arg-type] # stands for auth's client
        self.use_cases = UseCases(store, directory, self.engine, rates, settings)
        self.streams = StreamServer(self.engine, store, verifier, Reads(self.use_cases, verifier), settings)
        self.attach = self.streams.attach

    async def start(self) -> None:
        """Begins to serve."""
        await self.engine.start()

    async def stop(self) -> None:
        """Stops as the messenger does: the streams last."""
        await self.engine.stop()
        await self.streams.stop()


class Cluster:
    """What replicas on one database share: the bus, and who is online."""

    def __init__(self) -> None:
        self.bus: Bus = InProcessBus()
        self.presence: Presence = InProcessPresence(time.monotonic)


@contextlib.asynccontextmanager
async def redis_cluster(server: RedisServer) -> AsyncIterator[Cluster]:
    """What one replica of several has of a Redis that all share: with connections of its own."""
    async with redis_client(server) as client:
        cluster = Cluster()
        presence = cluster.presence = RedisPresence(client)
        cluster.bus = RedisBus(client)
        async with running(presence.run()):
            yield cluster


def replica_of(
    messenger_db: MessengerDatabase, store: Store, cluster: Cluster | None = None, **settings: Any
) -> Replica:
    """A replica, alone where it belongs to no cluster."""
    own = MessengerSettings(**{"rates": False, **settings})
    bus: Bus = cluster.bus if cluster is not None else LocalBus()
    presence = cluster.presence if cluster is not None else InProcessPresence(time.monotonic)
    return Replica(store, messenger_db.keys.verifier(), bus, presence, own)


@contextlib.asynccontextmanager
async def running_replica(
    messenger_db: MessengerDatabase, cluster: Cluster | None = None, **settings: Any
) -> AsyncIterator[Replica]:
    """A replica on the database, with connections of its own, until the block ends."""
    store = messenger_db.open_store()
    replica = replica_of(messenger_db, store, cluster, **settings)
    await replica.start()
    try:
        yield replica
    finally:
        await replica.stop()
        await store.close()


@contextlib.asynccontextmanager
async def serving_replica(
    messenger_db: MessengerDatabase,
    port: int = 0,
    cluster: Cluster | None = None,
    hold: Callable[[Journal], Journal] | None = None,
    **settings: Any,
) -> AsyncIterator[tuple[Replica, int]]:
    """A replica served by gRPC, and its port. Stops as the messenger does: the streams before the server.

    `hold`: puts something around its journal.
    """
    store = messenger_db.open_store()
    if hold is not None:
        store = replace(store, journals=[hold(journal) for journal in store.journals])
    replica = replica_of(messenger_db, store, cluster, **settings)
    try:
        methods = Methods({ATTACH: StreamMethod(replica.attach, GatewayBatch.FromString)})
        async with serving_streams(methods, HOST, port, 1.0) as bound:
            await replica.start()
            try:
                yield replica, bound
            finally:
                await replica.stop()
    finally:
        await store.close()


class RevokedSessions:
    """Sessions that were revoked."""

    def __init__(self) -> None:
        self.sessions: set[bytes] = set()

    def is_ended(self, session_id: bytes) -> bool:
        """See `sockets.EndedSessions`."""
        return session_id in self.sessions


async def respond_not_found(_scope: Any, _receive: Any, send: Any) -> None:
    """An HTTP application that has nothing."""
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b""})


class GatewaySockets:
    """A gateway's sockets, built as the bootstrap builds them.

    `client` opens streams to their messenger. `generations`: others than are served.
    """

    def __init__(
        self, client: Any, keys: Keys, generations: GenerationRegistry | None = None, **settings: Any
    ) -> None:
        own = GatewaySettings(**settings)
        self.ended = RevokedSessions()
        self.registry = SocketRegistry(own)
        outbox = Outbox()
        self.sends = PendingSends(own.frames_in_flight, IN_FLIGHT_BYTES)
        fan_out = FanOut(self.registry, outbox)
        self.stream = MessengerStream(client, outbox, self.sends, PendingReads(outbox), fan_out)
        self.server = SocketServer(
            own,
            generations or served_generations(own),
            keys.verifier(),
            self.ended,
            self.registry,
            GatewayRates(Unlimited(), Unlimited()),
            outbox,
            fan_out,
            self.stream,
        )

    async def stop(self) -> None:
        """Closes the sockets, then the stream."""
        await self.server.stop()
        await self.stream.stop()


class Gateway:
    """A gateway's sockets, on a port."""

    def __init__(self, parts: GatewaySockets, port: int, keys: Keys) -> None:
        self.sockets = parts.server
        self.registry = parts.registry
        self.sends = parts.sends
        self.stream = parts.stream
        self.ended = parts.ended
        self.port = port
        self.keys = keys

    def url(self, path: str, token: str = "") -> str:
        """A socket's address; with the token as v1's clients give it."""
        return f"ws://{HOST}:{self.port}{path}" + (f"?token={token}" if token else "")


def client_to(port: int) -> StreamClient:
    """What attaches to a messenger."""
    return StreamClient(f"{HOST}:{port}", ATTACH, MessengerBatch.FromString, MESSAGE_BYTES)


@contextlib.asynccontextmanager
async def running_gateway(
    keys: Keys, messenger_port: int, generations: GenerationRegistry | None = None, **settings: Any
) -> AsyncIterator[Gateway]:
    """A gateway's sockets before a messenger, until the block ends. `generations`: others than are served."""
    parts = GatewaySockets(client_to(messenger_port), keys, generations, **{"drain_seconds": 1.0, **settings})
    await parts.server.start()
    async with serving_http(respond_not_found, HOST, 0, ws=parts.server.protocol) as server:
        try:
            yield Gateway(parts, server.port, keys)
        finally:
            await parts.stop()
