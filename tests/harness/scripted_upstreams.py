"""A gateway's HTTP side on a free port, before an auth and a messenger that answer by a test's script.

Both are real servers of the real contracts: they get the bytes that the services would get.
"""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID

import aiohttp
import grpc
import grpc.aio
import msgspec

from palaver.contracts import messenger_pb2 as pb
from palaver.contracts.errors import INTERNAL, PalaverError, error_to_wire
from palaver.contracts.ids import text_from_id
from palaver.contracts.messenger_methods import ATTACH
from palaver.contracts.messenger_pb2_grpc import MessengerServicer, add_MessengerServicer_to_server
from palaver.gateway.app import build_app
from palaver.gateway.bootstrap import gateway_rates
from palaver.gateway.generations.registry import GenerationRegistry
from palaver.gateway.generations.served import served_generations
from palaver.gateway.services import Services
from palaver.gateway.upstream.auth import AuthClient
from palaver.gateway.upstream.health import UpstreamHealth
from palaver.gateway.upstream.messenger import MessengerClient, messenger_channels
from palaver.gateway.upstream.outbox import Outbox
from palaver.gateway.upstream.pending_reads import PendingReads
from palaver.gateway.upstream.pending_sends import PendingSends
from palaver.gateway.upstream.revocations import Revocations
from palaver.gateway.upstream.stream import MessengerStream
from palaver.runtime.grpc.server import MESSAGE_BYTES
from palaver.runtime.grpc.stream_client import StreamClient
from palaver.runtime.http.client_addresses import ClientAddresses, TrustedProxies
from palaver.runtime.http.instrumentation import RequestInstrumentation
from palaver.runtime.http.rest_client import RestClient
from palaver.runtime.http.server import serving_http
from palaver.runtime.replicas.replicas import Replicas
from palaver.runtime.settings.gateway import GatewaySettings
from palaver.runtime.tokens import TokenVerifier
from tests.harness.fake_auth import FakeAuth, running_fake_auth
from tests.harness.http_client import HttpClient, HttpResponse
from tests.harness.keys import TOKEN_SECONDS

BOB = UUID("01940b7e-5a02-7f11-a6c3-91d2b47f0e58")
ALICE = UUID("01940b7e-2f63-7c1e-8d5a-3a1f0c9e7b21")
CHAT = UUID("01940b81-03de-7d44-9a1b-6b0c5e8f2a17")
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


class ScriptedMessenger(MessengerServicer):  # type: ignore[misc] # generated without types
    """Answers `answers["Method"]`: a message, an error of the catalogue, a bare gRPC status; or, in turn, a
    list of those."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.calls: list[tuple[str, Any]] = []
        self.tokens: list[str] = []

    def reset(self) -> None:
        """Empties the script."""
        self.answers.clear()
        self.calls.clear()
        self.tokens.clear()

    def requests(self, method: str) -> list[Any]:
        """The requests to one method."""
        return [request for name, request in self.calls if name == method]

    async def answer(self, method: str, request: Any, context: Any) -> Any:
        """Answers by the script."""
        self.calls.append((method, request))
        self.tokens.append(dict(context.invocation_metadata()).get("authorization", ""))
        answer = self.answers.get(method)
        if isinstance(answer, list):
            answer = answer.pop(0)
        if isinstance(answer, grpc.StatusCode):
            await context.abort(answer, "the script's status")
        if answer is None or isinstance(answer, PalaverError):
            error = answer or PalaverError(INTERNAL)
            trailing = (("palaver-error-bin", msgspec.json.encode(error_to_wire(error))),)
            await context.abort(grpc.StatusCode[error.kind.grpc], "", trailing)
        return answer


def scripted(method: str) -> Any:
    """The servicer's method of that name."""

    async def answer(self: ScriptedMessenger, request: Any, context: Any) -> Any:
        return await self.answer(method, request, context)

    return answer


async def scripted_attach(self: ScriptedMessenger, batches: Any, context: Any) -> None:
    """The stream: its reads are answered as calls of the same name."""
    async for batch in batches:
        for read in batch.reads:
            self.calls.append(("ListMessages", read.list_messages))
            self.tokens.append(f"Bearer {read.token}")
            answer = self.answers.get("ListMessages")
            reply = pb.ReadReply(number=read.number)
            if isinstance(answer, pb.MessagePage):
                reply.page.CopyFrom(answer)
            else:
                wire = error_to_wire(answer or PalaverError(INTERNAL))
                reply.error.code, reply.error.message = wire.code, wire.message
                reply.error.field, reply.error.retry_after = wire.field, wire.retry_after
            await context.write(pb.MessengerBatch(read_replies=[reply]))


class NoSockets:
    """The receiver of a stream without sockets."""

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


class GatewayClient(HttpClient):
    """A client of a gateway's HTTP side, and both scripts behind it. `token`: of Bob's session."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        port: int,
        auth: FakeAuth,
        messenger: ScriptedMessenger,
        services: Services,
        stop_messenger: Callable[[float | None], Awaitable[None]],
    ) -> None:
        super().__init__(http, f"http://127.0.0.1:{port}")
        self.port = port
        self.auth = auth
        self.messenger = messenger
        self.services = services
        self.stop_messenger = stop_messenger
        self.token = auth.token(BOB.bytes)

    def reset(self) -> None:
        """Empties both scripts."""
        self.auth.reset()
        self.messenger.reset()

    async def call(
        self, method: str, path: str, body: Any = None, *, token: str | None = None, **headers: str
    ) -> HttpResponse:
        """One request of Bob's, or, with `token=""`, without a token. Names of headers use `_` for `-`."""
        token = self.token if token is None else token
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token and "authorization" not in sent:
            legacy = path.startswith(("/auth", "/messenger", "/social"))
            sent["authorization"] = token if legacy else f"Bearer {token}"
        return await self.request(method, path, body, sent)


@contextlib.asynccontextmanager
async def running_http_gateway(
    generations: GenerationRegistry | None = None, **settings: Any
) -> AsyncIterator[GatewayClient]:
    """Starts all three. They stop with the block. `generations`: others than are served."""
    own = GatewaySettings(**{"rates": False, **settings})
    messenger = ScriptedMessenger()
    async with contextlib.AsyncExitStack() as stack:
        # Its event loop stands still while other files' tests run on theirs: an idle connection would be
        # closed by a timer that is long due, in the moment in which a test uses it again
        keep_alive = {"timeout_keep_alive": 3600}
        auth = await stack.enter_async_context(running_fake_auth(**keep_alive))
        rest = RestClient(auth.url)
        stack.push_async_callback(rest.close)
        grpc_server = grpc.aio.server()
        add_MessengerServicer_to_server(messenger, grpc_server)  # type: ignore[no-untyped-call] # generated
        grpc_port = grpc_server.add_insecure_port("127.0.0.1:0")
        await grpc_server.start()
        stack.push_async_callback(grpc_server.stop, None)
        channels = await stack.enter_async_context(messenger_channels(Replicas(f"127.0.0.1:{grpc_port}")))
        outbox = Outbox()
        reads = PendingReads(outbox)
        streams = StreamClient(f"127.0.0.1:{grpc_port}", ATTACH, pb.MessengerBatch.FromString, MESSAGE_BYTES)
        stream = MessengerStream(streams, outbox, PendingSends(1, 1), reads, NoSockets())  # type: ignore[arg-type] # nothing else comes
        stream.start()
        stack.push_async_callback(stream.stop)
        accounts = AuthClient(rest)
        revocations = Revocations(accounts, 600, lambda _session_id: None)
        verifier = TokenVerifier(accounts.keys, TOKEN_SECONDS)
        services = Services(
            own,
            accounts,
            MessengerClient(channels, reads),
            verifier,
            revocations,
            (UpstreamHealth("auth", rest),),
            lambda: stream.is_attached,
            gateway_rates(own),
        )
        options: dict[str, Any] = {
            **keep_alive,
            "proxy_headers": False,
        }
        registry = generations or served_generations(own)
        app = RequestInstrumentation(
            build_app(services, registry), is_edge=True, access_log=False, generation_of=registry.name_of
        )
        public = ClientAddresses(app, TrustedProxies(own.trusted_proxies))
        server = await stack.enter_async_context(serving_http(public, "127.0.0.1", 0, **options))
        http = await stack.enter_async_context(aiohttp.ClientSession())
        yield GatewayClient(http, server.port, auth, messenger, services, grpc_server.stop)


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
