"""A gateway's HTTP side on a free port, before an auth and a messenger that answer what a test tells them to.

Both are real servers of the real contracts: what goes over the wire is what would go to the services.
"""

import base64
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import aiohttp
import grpc
import grpc.aio
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.requests import Request
from starlette.responses import Response

from palaver.contracts import messenger_pb2 as pb
from palaver.contracts.errors import INTERNAL, PalaverError, error_to_wire
from palaver.contracts.ids import new_id, text_from_id
from palaver.contracts.messenger_pb2_grpc import MessengerServicer, add_MessengerServicer_to_server
from palaver.gateway.app import build_app
from palaver.gateway.generations.registry import GenerationRegistry
from palaver.gateway.generations.served import served_generations
from palaver.gateway.services import Services
from palaver.gateway.upstream.auth import AuthClient
from palaver.gateway.upstream.health import UpstreamHealth
from palaver.gateway.upstream.messenger import MessengerClient, open_channel
from palaver.gateway.upstream.outbox import Outbox
from palaver.gateway.upstream.pending_reads import PendingReads
from palaver.gateway.upstream.pending_sends import PendingSends
from palaver.gateway.upstream.revocations import Revocations
from palaver.gateway.upstream.stream import MessengerStream
from palaver.runtime.http.instrumentation import RequestInstrumentation
from palaver.runtime.http.rest_client import RestClient
from palaver.runtime.http.server import serving_http
from palaver.runtime.settings import GatewaySettings
from palaver.runtime.tokens import Claims, TokenVerifier, sign_token

BOB = UUID("01940b7e-5a02-7f11-a6c3-91d2b47f0e58")
ALICE = UUID("01940b7e-2f63-7c1e-8d5a-3a1f0c9e7b21")
CHAT = UUID("01940b81-03de-7d44-9a1b-6b0c5e8f2a17")
KEY_ID = "key-1"
ALICE_ACCOUNT = {
    "id": str(ALICE),
    "email": "alice@email.com",
    "name": "Alice",
    "surname": "Swift",
    "birthday": "1995-10-10",
    "sex": "female",
    "city": "California",
    "interests": "running",
    "created_at": "2024-12-27T20:21:25.120331Z",
}
TOKEN_PAIR = {
    "access_token": "a.b.c",
    "refresh_token": "refresh",
    "expires_in": 1800,
    "user_id": str(BOB),
    "session_id": str(CHAT),
}


@dataclass
class AuthRequest:
    """One request that auth got."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass
class ScriptedAuth:
    """Answers `answers["METHOD /path"]`: a JSON object, a status with one, or an error of the
    catalogue; or, in turn, a list of those."""

    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[AuthRequest] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """The script of an auth that is there, and nothing more."""
        self.answers.clear()
        self.asked.clear()
        public = self.key.public_key().public_bytes_raw()
        x = base64.urlsafe_b64encode(public).rstrip(b"=").decode()
        key = {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": KEY_ID, "alg": "EdDSA"}
        self.answers["GET /.well-known/jwks.json"] = {"keys": [key]}
        self.answers["GET /readyz"] = {"ready": True}
        self.answers["GET /revocations"] = {"session_ids": [], "position": 0}

    def token(self, user: UUID = BOB, session_id: bytes | None = None, lives: int = 600) -> str:
        """An access token."""
        now = int(time.time())
        claims = Claims(user.bytes, session_id or new_id(), now, now + lives)
        return sign_token(claims, self.key, KEY_ID)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        body = await request.body()
        said = AuthRequest(
            request.method,
            request.url.path,
            dict(request.query_params),
            dict(request.headers),
            msgspec.json.decode(body) if body else None,
        )
        self.asked.append(said)
        told = self.answers.get(f"{said.method} {said.path}")
        await answer_of(told.pop(0) if isinstance(told, list) else told)(scope, receive, send)


def answer_of(told: Any) -> Response:
    """The answer that a script means. Nothing told: an internal error, which fails the test."""
    if told is None:
        told = PalaverError(INTERNAL)
    if isinstance(told, PalaverError):
        return Response(msgspec.json.encode(error_to_wire(told)), told.kind.http)
    status, body = told if isinstance(told, tuple) else (200, told)
    return Response(b"" if status == 204 else msgspec.json.encode(body), status)


class ScriptedMessenger(MessengerServicer):  # type: ignore[misc] # generated without types
    """Answers `answers["Method"]`: a message, an error of the catalogue, a bare gRPC status; or, in turn, a
    list of those."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[tuple[str, Any]] = []
        self.tokens: list[str] = []

    def forget(self) -> None:
        """An empty script."""
        self.answers.clear()
        self.asked.clear()
        self.tokens.clear()

    def requests(self, method: str) -> list[Any]:
        """What was asked of one method."""
        return [request for name, request in self.asked if name == method]

    async def answer(self, method: str, request: Any, context: Any) -> Any:
        """What the script says."""
        self.asked.append((method, request))
        self.tokens.append(dict(context.invocation_metadata()).get("authorization", ""))
        told = self.answers.get(method)
        if isinstance(told, list):
            told = told.pop(0)
        if isinstance(told, grpc.StatusCode):
            await context.abort(told, "said so by the test")
        if told is None or isinstance(told, PalaverError):
            error = told or PalaverError(INTERNAL)
            trailing = (("palaver-error-bin", msgspec.json.encode(error_to_wire(error))),)
            await context.abort(grpc.StatusCode[error.kind.grpc], "", trailing)
        return told


def scripted(method: str) -> Any:
    """The servicer's method of that name."""

    async def answer(self: ScriptedMessenger, request: Any, context: Any) -> Any:
        return await self.answer(method, request, context)

    return answer


async def scripted_attach(self: ScriptedMessenger, batches: Any, context: Any) -> None:
    """The stream: its asks are answered as calls of the same name are."""
    async for batch in batches:
        for ask in batch.reads:
            self.asked.append(("ListMessages", ask.list_messages))
            self.tokens.append(f"Bearer {ask.token}")
            told = self.answers.get("ListMessages")
            answer = pb.ReadReply(number=ask.number)
            if isinstance(told, pb.MessagePage):
                answer.page.CopyFrom(told)
            else:
                wire = error_to_wire(told or PalaverError(INTERNAL))
                answer.error.code, answer.error.message = wire.code, wire.message
                answer.error.field, answer.error.retry_after = wire.field, wire.retry_after
            await context.write(pb.MessengerBatch(read_replies=[answer]))


class NoSockets:
    """The handler of a stream where there are no sockets."""

    def reopenings(self) -> list[pb.SocketOpen]:
        """See `StreamHandler`."""
        return []

    def handle_batch(self, _batch: pb.MessengerBatch) -> None:
        """See `StreamHandler`."""


for one in pb.DESCRIPTOR.services_by_name["Messenger"].methods:
    if one.name != "Attach":
        setattr(ScriptedMessenger, one.name, scripted(one.name))
    else:
        setattr(ScriptedMessenger, one.name, scripted_attach)


@dataclass
class Answer:
    """What a client got."""

    status: int
    headers: Any
    content: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return msgspec.json.decode(self.content)


@dataclass
class Door:
    """A gateway's HTTP side, and both scripts behind it."""

    port: int
    auth: ScriptedAuth
    messenger: ScriptedMessenger
    services: Services
    session: aiohttp.ClientSession
    token: str
    stop_messenger: Any = None

    def forget(self) -> None:
        """Empty scripts."""
        self.auth.forget()
        self.messenger.forget()

    async def call(
        self, method: str, path: str, body: Any = None, *, token: str | None = None, **headers: str
    ) -> Answer:
        """One request by Bob, or, with `token=""`, by nobody. Header names use `_` for `-`."""
        token = self.token if token is None else token
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token and "authorization" not in sent:
            old = path.startswith(("/auth", "/messenger", "/social"))
            sent["authorization"] = token if old else f"Bearer {token}"
        content = body if isinstance(body, bytes | type(None)) else msgspec.json.encode(body)
        if content is not None:
            sent.setdefault("content-type", "application/json")
        url = f"http://127.0.0.1:{self.port}{path}"
        async with self.session.request(
            method, url, data=content, headers=sent, allow_redirects=False, skip_auto_headers=["content-type"]
        ) as answer:
            return Answer(answer.status, answer.headers, await answer.read())


@contextlib.asynccontextmanager
async def open_door(generations: GenerationRegistry | None = None, **settings: Any) -> AsyncIterator[Door]:
    """Everything, started; and stopped with the block. `generations`: others than are served."""
    own = GatewaySettings(**settings)
    auth, messenger = ScriptedAuth(), ScriptedMessenger()
    async with contextlib.AsyncExitStack() as stack:
        # Its event loop stands still while other files' tests run on theirs: a kept connection would be
        # closed by a timer that is long due, in the moment in which a test uses it again
        kept = {"timeout_keep_alive": 3600}
        auth_server = await stack.enter_async_context(serving_http(auth, "127.0.0.1", 0, **kept))
        rest = RestClient(f"http://127.0.0.1:{auth_server.port}")
        stack.push_async_callback(rest.close)
        grpc_server = grpc.aio.server()
        add_MessengerServicer_to_server(messenger, grpc_server)  # type: ignore[no-untyped-call] # generated
        grpc_port = grpc_server.add_insecure_port("127.0.0.1:0")
        await grpc_server.start()
        stack.push_async_callback(grpc_server.stop, None)
        channel = await stack.enter_async_context(open_channel(f"127.0.0.1:{grpc_port}"))
        outbox = Outbox()
        reads = PendingReads(outbox)
        stream = MessengerStream(channel, outbox, PendingSends(1, 1), reads, NoSockets())  # type: ignore[arg-type] # nothing else comes
        stream.start()
        stack.push_async_callback(stream.stop)
        accounts = AuthClient(rest)
        revocations = Revocations(accounts, 600, lambda _session_id: None)
        verifier = TokenVerifier(accounts.keys)
        services = Services(
            own,
            accounts,
            MessengerClient(channel, reads),
            verifier,
            revocations,
            (UpstreamHealth("auth", rest),),
            lambda: stream.is_attached,
        )
        options: dict[str, Any] = {**kept, "proxy_headers": True, "forwarded_allow_ips": own.trusted_proxies}
        registry = generations or served_generations(own)
        app = RequestInstrumentation(
            build_app(services, registry), is_edge=True, access_log=False, generation_of=registry.name_of
        )
        server = await stack.enter_async_context(serving_http(app, "127.0.0.1", 0, **options))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        yield Door(server.port, auth, messenger, services, session, auth.token(), grpc_server.stop)


def message(seq: int, sender: UUID = BOB, text: str = "Hello, Alice!", **more: Any) -> pb.Message:
    """A message of the one chat."""
    return pb.Message(
        chat_id=CHAT.bytes,
        seq=seq,
        id=UUID(int=seq).bytes,
        sender_id=sender.bytes,
        client_id=UUID(int=seq + 1000).bytes,
        text=text,
        created_at=1_735_331_101_331_207,
        **more,
    )


def text(user: UUID) -> str:
    """The id as JSON has it."""
    return text_from_id(user.bytes)
