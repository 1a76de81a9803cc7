"""The messenger's engine and the gateway's sockets in this process: real engines, servers and sockets.

`serving_engine` serves a replica by gRPC, `running_gateway` the sockets over HTTP.
"""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc.aio

from palaver.contracts.messenger_pb2_grpc import MessengerServicer, add_MessengerServicer_to_server
from palaver.gateway.bootstrap import IN_FLIGHT_BYTES
from palaver.gateway.sockets.server import SocketServer
from palaver.gateway.upstream.stream import MessengerStream
from palaver.messenger.realtime.bus import Bus
from palaver.messenger.realtime.engine import Engine
from palaver.runtime.grpc.server import serving_grpc
from palaver.runtime.http.server import serving_http
from palaver.runtime.settings import GatewaySettings, MessengerSettings
from palaver.runtime.sql.database import SqliteDatabase
from tests.harness.keys import Keys
from tests.harness.messenger_database import MessengerDatabase

HOST = "127.0.0.1"


class AttachServicer(MessengerServicer):
    """The gRPC service with its one stream."""

    def __init__(self, attach: Callable[..., Awaitable[None]]) -> None:
        self.Attach = attach


@contextlib.asynccontextmanager
async def open_engine(
    messenger_db: MessengerDatabase, bus: Bus | None, **settings: Any
) -> AsyncIterator[Engine]:
    """A replica that has not started, with connections of its own to the database during the block."""
    database = SqliteDatabase(messenger_db.file)
    own = MessengerSettings(**{"rates": False, **settings})
    try:
        yield Engine(database, messenger_db.keys.verifier(), own, bus)
    finally:
        await database.close()


@contextlib.asynccontextmanager
async def running_engine(
    messenger_db: MessengerDatabase, bus: Bus | None = None, **settings: Any
) -> AsyncIterator[Engine]:
    """A replica on the database, until the block ends."""
    async with open_engine(messenger_db, bus, **settings) as engine:
        await engine.start()
        try:
            yield engine
        finally:
            await engine.stop()


@contextlib.asynccontextmanager
async def serving_engine(
    messenger_db: MessengerDatabase, port: int = 0, bus: Bus | None = None, **settings: Any
) -> AsyncIterator[tuple[Engine, int]]:
    """A replica served by gRPC, and its port. Stops as the messenger does: the streams before the server."""
    async with (
        open_engine(messenger_db, bus, **settings) as engine,
        serving_grpc(
            lambda server: add_MessengerServicer_to_server(AttachServicer(engine.attach), server),
            HOST,
            port,
            1.0,
        ) as (_, bound),
    ):
        await engine.start()
        try:
            yield engine, bound
        finally:
            await engine.stop()


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


class Gateway:
    """A gateway's sockets, on a port."""

    def __init__(self, sockets: SocketServer, port: int, keys: Keys, ended: RevokedSessions) -> None:
        self.sockets = sockets
        self.port = port
        self.keys = keys
        self.ended = ended

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
async def running_gateway(keys: Keys, messenger_port: int, **settings: Any) -> AsyncIterator[Gateway]:
    """A gateway's sockets before a messenger, until the block ends."""
    ended = RevokedSessions()
    own = GatewaySettings(**{"drain_seconds": 1.0, **settings})
    async with channel_to(messenger_port) as channel:
        link = MessengerStream(channel, own.frames_in_flight, IN_FLIGHT_BYTES)
        sockets = SocketServer(own, keys.verifier(), ended, link)
        await sockets.start()
        async with serving_http(respond_not_found, HOST, 0, ws=sockets.protocol) as server:
            try:
                yield Gateway(sockets, server.port, keys, ended)
            finally:
                await sockets.stop()
                await link.stop()
