"""The messenger's live part and the gateway's sockets in this process: real engines, servers and sockets.

A `Place` has the database and the keys; `running_messenger` serves a replica by gRPC, `running_gateway` the
sockets over HTTP. Chats are made by the statements that the messenger itself makes them with.
"""

import asyncio
import contextlib
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import grpc.aio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm
from sqlalchemy import Connection, select

from palaver.contracts.ids import new_id
from palaver.contracts.messenger_pb2_grpc import MessengerServicer, add_MessengerServicer_to_server
from palaver.gateway.bootstrap import IN_FLIGHT_BYTES
from palaver.gateway.generations.registry import GenerationRegistry
from palaver.gateway.generations.served import served_generations
from palaver.gateway.sockets.fan_out import FanOut
from palaver.gateway.sockets.registry import SocketRegistry
from palaver.gateway.sockets.server import SocketServer
from palaver.gateway.upstream.outbox import Outbox
from palaver.gateway.upstream.pending_reads import PendingReads
from palaver.gateway.upstream.pending_sends import PendingSends
from palaver.gateway.upstream.stream import MessengerStream
from palaver.messenger.domain import Message
from palaver.messenger.realtime.bus import Bus, InProcessBus, LocalBus
from palaver.messenger.realtime.engine import Engine
from palaver.messenger.realtime.presence import InProcessPresence, Presence
from palaver.messenger.store.chats import create_group, open_direct_chat
from palaver.messenger.store.opening import Store, open_store
from palaver.messenger.store.schema import messages, metadata
from palaver.messenger.stream.reads import Reads
from palaver.messenger.stream.server import StreamServer
from palaver.messenger.use_cases import UseCases
from palaver.messenger.user_directory import UserDirectory
from palaver.runtime.grpc.server import serving_grpc
from palaver.runtime.http.server import serving_http
from palaver.runtime.rate_limits import TokenBuckets, Unlimited
from palaver.runtime.settings import GatewaySettings, MessengerSettings
from palaver.runtime.sql.sqlite import sqlite_engine
from palaver.runtime.tokens import Claims, TokenVerifier, sign_token

KEY_ID = "first"
HOST = "127.0.0.1"
WAIT_SECONDS = 20.0


async def eventually(
    condition: Callable[[], object | Awaitable[object]], what: str, seconds: float = WAIT_SECONDS
) -> None:
    """Returns once `condition()` is true. Fails after `seconds`, saying what was waited for."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        await asyncio.sleep(0.002)


class Keys:
    """Auth's signing key, and the tokens that it signs."""

    def __init__(self, key: Ed25519PrivateKey | None = None) -> None:
        self.key = key or Ed25519PrivateKey.generate()

    @property
    def jwks(self) -> dict[str, Any]:
        """The key as auth tells it (RFC 7517)."""
        entry = OKPAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        return {"keys": [{**entry, "kid": KEY_ID}]}

    async def fetch(self) -> dict[str, Any]:
        """What a verifier asks auth."""
        return self.jwks

    def verifier(self) -> TokenVerifier:
        """A verifier of its own."""
        return TokenVerifier(self.fetch)

    def token(self, user_id: bytes, session_id: bytes | None = None, seconds: int = 600) -> str:
        """An access token of a session, a new one where none is named."""
        now = int(time.time())
        return sign_token(Claims(user_id, session_id or new_id(), now, now + seconds), self.key, KEY_ID)


class Place:
    """A database file with the messenger's tables, and keys that its users' tokens are signed with."""

    def __init__(self, directory: Path, keys: Keys | None = None) -> None:
        self.file = directory / "messenger.db"
        self.keys = keys or Keys()
        replica = sqlite_engine(self.file)
        with replica.begin() as connection:
            metadata.create_all(connection)
        replica.dispose()
        self._engine = sqlite_engine(self.file)

    def close(self) -> None:
        """Closes its own connections."""
        self._engine.dispose()

    def write(self, work: Callable[..., Any], *args: Any) -> Any:
        """What `work(connection, …)` returns, in a transaction of its own."""
        with self._engine.connect() as connection, connection.begin():
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            return work(connection, *args)

    def direct(self, one: bytes, other: bytes) -> bytes:
        """The direct chat of two users."""
        chat_id: bytes = self.write(open_direct_chat, one, other, 1)[0].id
        return chat_id

    def group(self, users: Sequence[bytes]) -> bytes:
        """A new group, made by the first of the users."""
        chat_id = new_id()
        self.write(create_group, chat_id, users[0], "a group", users[1:], 1)
        return chat_id

    def history(self, chat_id: bytes) -> list[Message]:
        """All messages of a chat, as the journal has them."""
        return self.write(read_history, chat_id)  # type: ignore[no-any-return]


def read_history(connection: Connection, chat_id: bytes) -> list[Message]:
    """All messages of a chat by seq."""
    query = select(messages).where(messages.c.chat_id == chat_id).order_by(messages.c.seq)
    return [
        Message(**{**row, "edited_at": row["edited_at"] or 0, "deleted_at": row["deleted_at"] or 0})
        for row in connection.execute(query).mappings()
    ]


class AttachOnly(MessengerServicer):
    """The gRPC service with its one stream."""

    def __init__(self, attach: Callable[..., Awaitable[None]]) -> None:
        self.Attach = attach


class NoAuth:
    """An auth that nobody is to call."""

    async def call(self, _method: str, path: str, **_: Any) -> bytes:
        """Fails."""
        raise AssertionError(f"auth was called: {path}")


class Replica:
    """The live part of a messenger: an engine, its use cases, and the gateways' streams."""

    def __init__(
        self, store: Store, verifier: TokenVerifier, bus: Bus, presence: Presence, settings: MessengerSettings
    ) -> None:
        limiter = (
            TokenBuckets(settings.messages_per_second, settings.messages_burst)
            if settings.rates
            else Unlimited()
        )
        self.store = store
        self.engine = Engine(store, bus, presence, limiter, settings)
        directory = UserDirectory(NoAuth())  # type: ignore[arg-type] # stands for auth's client
        self.use_cases = UseCases(store, directory, self.engine, settings)
        self.streams = StreamServer(self.engine, store, verifier, Reads(self.use_cases, verifier))
        self.attach = self.streams.attach

    async def start(self) -> None:
        """Begins to serve."""
        await self.engine.start()

    async def stop(self) -> None:
        """Stops as the messenger does: the streams last."""
        await self.engine.stop()
        await self.streams.stop()


class Cluster:
    """What replicas of one place share: the bus, and who is online."""

    def __init__(self) -> None:
        self.bus = InProcessBus()
        self.presence = InProcessPresence(time.monotonic)


def replica_of(place: "Place", store: Store, cluster: Cluster | None = None, **settings: Any) -> Replica:
    """A replica, alone where it belongs to no cluster."""
    own = MessengerSettings(**{"rates": False, **settings})
    bus: Bus = cluster.bus if cluster is not None else LocalBus()
    presence = cluster.presence if cluster is not None else InProcessPresence(time.monotonic)
    return Replica(store, place.keys.verifier(), bus, presence, own)


@contextlib.asynccontextmanager
async def running_replica(
    place: "Place", cluster: Cluster | None = None, **settings: Any
) -> AsyncIterator[Replica]:
    """A replica on the place's database, with connections of its own, until the block ends."""
    store = open_store(place.file)
    replica = replica_of(place, store, cluster, **settings)
    await replica.start()
    try:
        yield replica
    finally:
        await replica.stop()
        await store.close()


@contextlib.asynccontextmanager
async def running_messenger(
    place: "Place", port: int = 0, cluster: Cluster | None = None, **settings: Any
) -> AsyncIterator[tuple[Replica, int]]:
    """A replica served by gRPC, and its port. Stops as the messenger does: the streams before the server."""
    store = open_store(place.file)
    replica = replica_of(place, store, cluster, **settings)
    try:
        async with serving_grpc(
            lambda server: add_MessengerServicer_to_server(AttachOnly(replica.attach), server),
            HOST,
            port,
            1.0,
        ) as (_, bound):
            await replica.start()
            try:
                yield replica, bound
            finally:
                await replica.stop()
    finally:
        await store.close()


class Ended:
    """Sessions that were revoked."""

    def __init__(self) -> None:
        self.sessions: set[bytes] = set()

    def is_ended(self, session_id: bytes) -> bool:
        """See `sockets.EndedSessions`."""
        return session_id in self.sessions


async def no_pages(_scope: Any, _receive: Any, send: Any) -> None:
    """An HTTP application that has nothing."""
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b""})


class GatewaySockets:
    """A gateway's sockets, built as the bootstrap builds them.

    `channel` leads to their messenger. `generations`: others than are served.
    """

    def __init__(
        self, channel: Any, keys: Keys, generations: GenerationRegistry | None = None, **settings: Any
    ) -> None:
        own = GatewaySettings(**settings)
        self.ended = Ended()
        self.registry = SocketRegistry(own)
        outbox = Outbox()
        self.sends = PendingSends(own.frames_in_flight, IN_FLIGHT_BYTES)
        fan_out = FanOut(self.registry, outbox)
        self.stream = MessengerStream(channel, outbox, self.sends, PendingReads(outbox), fan_out)
        self.server = SocketServer(
            own,
            generations or served_generations(own),
            keys.verifier(),
            self.ended,
            self.registry,
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


def channel_to(port: int) -> grpc.aio.Channel:
    """A channel that soon sees that its server is back."""
    return grpc.aio.insecure_channel(
        f"{HOST}:{port}",
        options=[
            ("grpc.initial_reconnect_backoff_ms", 50),
            ("grpc.min_reconnect_backoff_ms", 50),
            ("grpc.max_reconnect_backoff_ms", 200),
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.enable_http_proxy", 0),
            # Channels of one process to one address would share a connection, and its back-off
            ("grpc.use_local_subchannel_pool", 1),
        ],
    )


@contextlib.asynccontextmanager
async def running_gateway(
    keys: Keys, messenger_port: int, generations: GenerationRegistry | None = None, **settings: Any
) -> AsyncIterator[Gateway]:
    """A gateway's sockets before a messenger, until the block ends. `generations`: others than are served."""
    async with channel_to(messenger_port) as channel:
        parts = GatewaySockets(channel, keys, generations, **{"drain_seconds": 1.0, **settings})
        await parts.server.start()
        async with serving_http(no_pages, HOST, 0, ws=parts.server.protocol) as server:
            try:
                yield Gateway(parts, server.port, keys)
            finally:
                await parts.stop()
