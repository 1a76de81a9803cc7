"""A server of v2's frames and of a part of its REST, with faults at chosen rates."""

import asyncio
import contextlib
import random
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from palaver.contracts import frames
from palaver.contracts.times import now_us, rfc3339

TIME = "2026-01-01T00:00:00.000000Z"


@dataclass
class Faults:
    """How often things go wrong: chances of each frame, or of each request."""

    cut: float = 0.0
    restart: float = 0.0
    double: float = 0.0
    lose: float = 0.0
    late_ack_seconds: float = 0.0
    away: float = 0.0
    refuse: float = 0.0


@dataclass
class Connection:
    """One open socket."""

    ws: web.WebSocketResponse
    user_id: str
    session_id: str
    resuming: bool = False


@dataclass
class FaultyServer:
    """Users, chats with their histories, open sockets, and faults."""

    faults: Faults = field(default_factory=Faults)
    seed: int = 0
    expires_in: int = 3600
    base_url: str = ""
    tokens: dict[str, str] = field(default_factory=dict)
    refresh_tokens: dict[str, str] = field(default_factory=dict)
    refreshed: dict[str, str] = field(default_factory=dict)
    refreshes: int = 0
    lost_refreshes: int = 0
    upgrades: int = 0
    histories: dict[str, list[frames.Message]] = field(default_factory=dict)
    client_ids: dict[tuple[str, str, str], int] = field(default_factory=dict)
    receipts: list[frames.SendReceipt] = field(default_factory=list)
    typings: int = 0
    connections: set[Connection] = field(default_factory=set)
    tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    # ---- calls of tests ----

    def new_chat(self) -> str:
        """A chat of all users."""
        chat_id = str(uuid.UUID(int=self.chance.getrandbits(128)))
        self.histories[chat_id] = []
        return chat_id

    def happens(self, chance: float) -> bool:
        """Whether a fault happens this time."""
        return self.chance.random() < chance

    async def write(
        self, chat_id: str, sender_id: str, text: str, client_id: str = "", own: "Connection | None" = None
    ) -> frames.Message:
        """Stores a message and sends it to all sockets but `own`."""
        history = self.histories[chat_id]
        message_id = str(uuid.UUID(int=self.chance.getrandbits(128)))
        client_id = client_id or str(uuid.UUID(int=self.chance.getrandbits(128)))
        new = frames.Message(chat_id, len(history) + 1, message_id, sender_id, client_id, text, TIME)
        history.append(new)
        for connection in list(self.connections):
            if connection is not own and not connection.resuming and not self.happens(self.faults.lose):
                await self.send_frame(connection, new)
        return new

    async def edit(self, chat_id: str, seq: int, text: str) -> frames.Message:
        """Changes a message and sends it to all sockets."""
        new = msgspec.structs.replace(
            self.histories[chat_id][seq - 1], text=text, edited_at=rfc3339(now_us())
        )
        self.histories[chat_id][seq - 1] = new
        for connection in list(self.connections):
            await self.send_frame(connection, new)
        return new

    async def close_all(self, code: int) -> None:
        """Closes every socket."""
        for connection in list(self.connections):
            await connection.ws.close(code=code)

    def expire_tokens(self) -> None:
        """No access token is good any more; refresh tokens are."""
        self.tokens.clear()

    # ---- REST ----

    def new_pair(self, user_id: str) -> web.Response:
        """New tokens of a user."""
        access, refresh = uuid.uuid4().hex, uuid.uuid4().hex
        self.tokens[access] = self.refresh_tokens[refresh] = user_id
        body = {
            "access_token": access,
            "refresh_token": refresh,
            "expires_in": self.expires_in,
            "user_id": user_id,
            "session_id": str(uuid.uuid4()),
        }
        return web.json_response(body, status=201)

    async def sign_in(self, request: web.Request) -> web.Response:
        """Signs anybody in. The user id is made from the email."""
        return self.new_pair(str(uuid.uuid5(uuid.NAMESPACE_URL, (await request.json())["email"])))

    async def refresh(self, request: web.Request) -> web.Response:
        """A refresh token is good for one use, and a repeat gets the same pair."""
        self.refreshes += 1
        token = (await request.json())["refresh_token"]
        if (user_id := self.refresh_tokens.pop(token, None)) is not None:
            self.refreshed[token] = self.new_pair(user_id).text or ""
        if self.lost_refreshes:
            self.lost_refreshes -= 1
            assert request.transport is not None
            request.transport.abort()
        if token not in self.refreshed:
            return problem(401, "unauthenticated")
        return web.Response(text=self.refreshed[token], content_type="application/json")

    async def list_chats(self, request: web.Request) -> web.Response:
        """All chats on one page."""
        return self.answer(
            request, {"chats": [self.show(chat) for chat in self.histories], "next_cursor": None}
        )

    async def get_chat(self, request: web.Request) -> web.Response:
        """One chat."""
        chat_id = request.match_info["chat"]
        return self.answer(request, self.show(chat_id) if chat_id in self.histories else None)

    def show(self, chat_id: str) -> dict[str, Any]:
        """A direct chat of which nothing was read."""
        last_seq = len(self.histories[chat_id])
        return {
            "id": chat_id,
            "kind": "direct",
            "title": "",
            "created_at": TIME,
            "created_by": chat_id,
            "last_seq": last_seq,
            "unread": last_seq,
            "active_at": rfc3339(now_us()),
            "last_message": None,
            "members": [],
            "left": False,
        }

    def answer(self, request: web.Request, body: object) -> web.Response:
        """The body, where the token is good; now and then the server is away."""
        if self.happens(self.faults.away):
            return problem(503, "unavailable")
        if self.user_of(request) is None:
            return problem(401, "unauthenticated")
        return problem(404, "not_found") if body is None else web.json_response(body)

    def user_of(self, request: web.Request) -> str | None:
        """The user of a request's token, None without a good one."""
        return self.tokens.get(request.headers.get("Authorization", "").removeprefix("Bearer "))

    # ---- sockets ----

    async def serve_socket(self, request: web.Request) -> web.StreamResponse:
        """One connection."""
        self.upgrades += 1
        user_id = self.user_of(request)
        if user_id is None:
            return problem(401, "unauthenticated")
        if self.happens(self.faults.away):
            return problem(503, "unavailable")
        ws = web.WebSocketResponse(max_msg_size=262_144)
        await ws.prepare(request)
        connection = Connection(ws, user_id, str(uuid.uuid4()))
        await ws.send_bytes(
            msgspec.json.encode(frames.Hello(user_id, connection.session_id, rfc3339(now_us())))
        )
        self.connections.add(connection)
        try:
            await self.read_frames(connection)
        finally:
            self.connections.discard(connection)
        return ws

    async def read_frames(self, connection: Connection) -> None:
        """Reads frames until the connection ends."""
        async for message in connection.ws:
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                return
            if self.happens(self.faults.cut):
                cut(connection)
                return
            if self.happens(self.faults.restart):
                await connection.ws.close(code=WSCloseCode.SERVICE_RESTART)
                return
            await self.receive(connection, msgspec.json.decode(message.data, type=frames.ClientFrame))

    async def receive(self, connection: Connection, frame: frames.ClientFrame) -> None:
        """Handles a frame."""
        match frame:
            case frames.Send():
                await self.receive_send(connection, frame)
            case frames.Resume():
                assert not connection.resuming, "two resumes at once"
                connection.resuming = True
                self.start(self.resume(connection, frame.cursors))
            case frames.SendReceipt():
                self.receipts.append(frame)
            case frames.SendTyping():
                self.typings += 1
            case frames.Ping():
                await self.send_frame(connection, frames.Pong(frame.id))

    async def receive_send(self, connection: Connection, frame: frames.Send) -> None:
        if frame.chat_id not in self.histories:
            refused = frames.Error("not_found", "no chat", "", frame.client_id, frame.chat_id)
            await self.send_frame(connection, refused)
            return
        if self.happens(self.faults.refuse):
            await self.send_frame(
                connection, frames.Error("rate_limited", "slow down", "", frame.client_id, frame.chat_id)
            )
            return
        key = (frame.chat_id, connection.user_id, frame.client_id)
        seq = self.client_ids.get(key)
        if seq is None:
            seq = self.client_ids[key] = len(self.histories[frame.chat_id]) + 1
            await self.write(frame.chat_id, connection.user_id, frame.text, frame.client_id, own=connection)
        stored = self.histories[frame.chat_id][seq - 1]
        ack = frames.Sent(frame.client_id, frame.chat_id, seq, stored.id, stored.created_at)
        self.start(self.send_late(connection, ack))

    async def send_late(self, connection: Connection, ack: frames.Sent) -> None:
        """Acknowledgements come late, and so in any order."""
        await asyncio.sleep(self.chance.random() * self.faults.late_ack_seconds)
        await self.send_frame(connection, ack)

    async def resume(self, connection: Connection, cursors: dict[str, int]) -> None:
        """Sends the missed messages; live ones wait meanwhile."""
        for chat_id, seq in cursors.items():
            sent = seq
            while sent < len(self.histories[chat_id]):
                await self.send_frame(connection, self.histories[chat_id][sent])
                sent += 1
        connection.resuming = False
        await self.send_frame(connection, frames.Resumed())

    async def send_frame(self, connection: Connection, frame: frames.FromServer) -> None:
        """Writes a frame, or two of it, or none and cuts."""
        if self.happens(self.faults.cut):
            cut(connection)
            return
        with contextlib.suppress(ConnectionError):
            for _ in range(2 if self.happens(self.faults.double) else 1):
                await connection.ws.send_str(msgspec.json.encode(frame).decode())

    def start(self, work: Any) -> None:
        """Starts work that ends with the server."""
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


Connection.__hash__ = object.__hash__  # type: ignore[method-assign] # one connection is no other


def cut(connection: Connection) -> None:
    """Resets the TCP connection, as a network does."""
    transport = connection.ws._req.transport if connection.ws._req else None
    if transport is not None:
        transport.abort()


def problem(status: int, code: str) -> web.Response:
    """An error (RFC 9457)."""
    body = {
        "type": f"urn:palaver:error:{code}",
        "title": code,
        "status": status,
        "detail": code,
        "code": code,
    }
    return web.json_response(body, status=status, content_type="application/problem+json")


@contextlib.asynccontextmanager
async def running_server(faults: Faults | None = None, **settings: Any) -> AsyncIterator[FaultyServer]:
    """A server on a free port, for the block."""
    server = FaultyServer(faults or Faults(), **settings)
    app = web.Application()
    app.add_routes(
        [
            web.post("/v2/sessions", server.sign_in),
            web.post("/v2/sessions/refresh", server.refresh),
            web.get("/v2/chats", server.list_chats),
            web.get("/v2/chats/{chat}", server.get_chat),
            web.get("/v2/ws", server.serve_socket),
        ]
    )
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        for task in list(server.tasks):
            task.cancel()
        await asyncio.gather(*server.tasks, return_exceptions=True)
        await runner.cleanup()
