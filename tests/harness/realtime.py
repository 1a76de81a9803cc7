"""The messenger's live part and the gateway's sockets in this process: real engines, servers and sockets.

A `MessengerDatabase` has the database and the keys; `serving_engine` serves a replica by gRPC, `running_gateway` the
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
from palaver.gateway.sockets.server import SocketServer
from palaver.gateway.upstream.stream import MessengerStream
from palaver.messenger.domain import Message
from palaver.messenger.realtime.bus import Bus
from palaver.messenger.realtime.engine import Engine
from palaver.messenger.store.chats import create_group, open_direct_chat
from palaver.messenger.store.schema import messages, metadata
from palaver.runtime.grpc.server import serving_grpc
from palaver.runtime.http.server import serving_http
from palaver.runtime.settings import GatewaySettings, MessengerSettings
from palaver.runtime.sql.database import SqliteDatabase, sqlite_engine
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


class MessengerDatabase:
    """A database file with the messenger's tables, and keys that its users' tokens are signed with."""

    def __init__(self, directory: Path, keys: Keys | None = None) -> None:
        self.file = directory / "messenger.db"
        self.keys = keys or Keys()
        engine = sqlite_engine(self.file)
        with engine.begin() as connection:
            metadata.create_all(connection)
        engine.dispose()
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
        Message(
            row.chat_id,
            row.seq,
            row.id,
            row.sender_id,
            row.client_id,
            row.text,
            row.created_at,
            row.edited_at or 0,
            row.deleted_at or 0,
            row.trace_id,
        )
        for row in connection.execute(query)
    ]


class AttachServicer(MessengerServicer):
    """The gRPC service with its one stream."""

    def __init__(self, attach: Callable[..., Awaitable[None]]) -> None:
        self.Attach = attach


@contextlib.asynccontextmanager
async def running_engine(
    messenger_db: MessengerDatabase, bus: Bus | None = None, **settings: Any
) -> AsyncIterator[Engine]:
    """A replica on the place's database, with connections of its own, until the block ends."""
    database = SqliteDatabase(messenger_db.file)
    own = MessengerSettings(**{"rates": False, **settings})
    engine = Engine(database, messenger_db.keys.verifier(), own, bus)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()
        await database.close()


@contextlib.asynccontextmanager
async def serving_engine(
    messenger_db: MessengerDatabase, port: int = 0, bus: Bus | None = None, **settings: Any
) -> AsyncIterator[tuple[Engine, int]]:
    """A replica served by gRPC, and its port. Stops as the messenger does: the streams before the server."""
    database = SqliteDatabase(messenger_db.file)
    own = MessengerSettings(**{"rates": False, **settings})
    engine = Engine(database, messenger_db.keys.verifier(), own, bus)
    try:
        async with serving_grpc(
            lambda server: add_MessengerServicer_to_server(AttachServicer(engine.attach), server),
            HOST,
            port,
            1.0,
        ) as (_, bound):
            await engine.start()
            try:
                yield engine, bound
            finally:
                await engine.stop()
    finally:
        await database.close()


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
