"""A gateway that lies, or has gone mad: nothing that it says of a field harms others, or revives a token."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from palaver.contracts import messenger_pb2 as pb
from palaver.contracts.ids import new_id
from palaver.contracts.messenger_pb2_grpc import MessengerStub
from palaver.messenger.authentication import SERVICE
from palaver.messenger.stream.checks import MOST_ENTRIES
from tests.harness.fake_auth import running_fake_auth
from tests.harness.messenger_service import Messenger, running_messenger

BEYOND = 2**63
HOUR_US = 3_600_000_000
WAIT_SECONDS = 10.0
REFUSED = (
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "ALREADY_EXISTS",
    "RESOURCE_EXHAUSTED",
    "OUT_OF_RANGE",
    "OK",
)


class Stream:
    """A gateway's stream, of which a test decides every field."""

    def __init__(self, messenger: Messenger) -> None:
        stub = MessengerStub(messenger.channel)  # type: ignore[no-untyped-call] # generated without types
        self.call = stub.Attach()

    async def write(self, **fields: Any) -> None:
        """Writes a batch."""
        await self.call.write(pb.GatewayBatch(**fields))

    async def read_until(self, field: str, is_wanted: Callable[[Any], bool] = lambda _: True) -> Any:
        """The first entry of a field of the messenger's batches that is wanted."""
        async with asyncio.timeout(WAIT_SECONDS):
            while (batch := await self.call.read()) is not grpc.aio.EOF:
                for entry in getattr(batch, field):
                    if is_wanted(entry):
                        return entry
        raise AssertionError(f"the stream ended: {await self.call.code()} {await self.call.details()}")

    async def opened(self, **opening: Any) -> Any:
        """What the messenger says of an opening."""
        await self.write(opens=[opening])
        return await self.read_until("opened", lambda opened: opened.socket == opening["socket"])

    async def end(self) -> grpc.StatusCode:
        """The status with which the messenger ends it."""
        async with asyncio.timeout(WAIT_SECONDS):
            with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                while await self.call.read() is not grpc.aio.EOF:
                    pass
            return await self.call.code()


@contextlib.asynccontextmanager
async def attached(messenger: Messenger, **first: Any) -> AsyncIterator[Stream]:
    """A stream that has said hello."""
    stream = Stream(messenger)
    await stream.write(hello={"gateway_id": "gateway"}, reopened=True, **first)
    try:
        yield stream
    finally:
        stream.call.cancel()


class House:
    """A messenger, and two users with a chat."""

    def __init__(self, messenger: Messenger, alice: bytes, bob: bytes, chat_id: bytes) -> None:
        self.messenger = messenger
        self.alice = alice
        self.bob = bob
        self.chat_id = chat_id
        self._numbers = 0

    def token(self, user_id: bytes, seconds: int = 600) -> str:
        """A token that expires in so many seconds."""
        return self.messenger.auth.token(user_id, seconds=seconds)

    async def check_served(self) -> None:
        """Others send and receive as ever, on a stream of their own."""
        async with attached(self.messenger) as stream:
            for number, user in ((1, self.alice), (2, self.bob)):
                assert not (await stream.opened(socket=number, token=self.token(user))).error
            send = {
                "socket": 1,
                "request": 7,
                "chat_id": self.chat_id,
                "client_ids": [new_id()],
                "texts": ["hello"],
            }
            await stream.write(sends=[send])
            delivery = await stream.read_until("deliveries", lambda one: one.request == 7)
            assert list(delivery.sockets) == [2]


async def house_of(messenger: Messenger) -> House:
    """Two users, who have a chat."""
    alice, bob = messenger.auth.sign_up("Alice"), messenger.auth.sign_up("Bob")
    chat = await messenger.call(alice, "OpenDirectChat", pb.OpenDirectChatRequest(companion_id=bob))
    return House(messenger, alice, bob, chat.id)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """One for all tests."""
    directory = tmp_path_factory.mktemp("messenger")
    async with running_fake_auth() as auth, running_messenger(auth, directory) as messenger:
        yield await house_of(messenger)


# ---- when a socket was opened ----


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("ago_us", [0, 1, HOUR_US, 2 * HOUR_US, -HOUR_US, 10**15], ids=str)
@pytest.mark.parametrize("proof", [b"", b"x" * 16], ids=["no proof", "a made-up proof"])
async def test_a_claim_about_the_past_does_not_revive_a_token(
    house: House, ago_us: int, proof: bytes
) -> None:
    """Who has stolen a token, and the secret, would read its user's chats for ever."""
    expired = house.token(house.alice, seconds=-600)
    opened_at = time.time_ns() // 1000 - ago_us
    async with attached(house.messenger) as stream:
        opened = await stream.opened(socket=1, token=expired, opened_at=opened_at, proof=proof)
    assert opened.error == "unauthenticated"


@pytest.mark.asyncio(loop_scope="module")
async def test_a_proof_is_of_one_token_and_one_time(house: House) -> None:
    """The proof of a socket of one's own would open sockets of others."""
    async with attached(house.messenger) as stream:
        opened = await stream.opened(socket=1, token=house.token(house.bob))
        expired = house.token(house.alice, seconds=-600)
        claim = {"opened_at": opened.opened_at, "proof": opened.proof}
        assert (await stream.opened(socket=2, token=expired, **claim)).error == "unauthenticated"


async def test_a_socket_outlives_its_token_and_the_messenger(tmp_path: Path) -> None:
    """Each restart of the messenger would close all sockets that are older than half an hour."""
    async with running_fake_auth() as auth:
        user_id = auth.sign_up("Alice")
        token = auth.token(user_id, seconds=1)
        async with running_messenger(auth, tmp_path) as messenger, attached(messenger) as stream:
            opened = await stream.opened(socket=1, token=token)
            assert not opened.error
        # Longer than the leeway for clocks
        await asyncio.sleep(4)
        async with running_messenger(auth, tmp_path) as messenger, attached(messenger) as stream:
            again = await stream.opened(socket=1, token=token, opened_at=opened.opened_at, proof=opened.proof)
            assert (again.error, again.opened_at, again.proof) == ("", opened.opened_at, opened.proof)
            moved = await stream.opened(
                socket=2, token=token, opened_at=opened.opened_at - 1, proof=opened.proof
            )
            assert moved.error == "unauthenticated"


@pytest.mark.asyncio(loop_scope="module")
async def test_a_good_token_needs_no_proof(house: House) -> None:
    """After a database was restored from a backup, nobody's socket would open again."""
    async with attached(house.messenger) as stream:
        opened = await stream.opened(socket=1, token=house.token(house.alice), opened_at=5, proof=b"old")
    assert not opened.error
    assert opened.opened_at > time.time_ns() // 1000 - HOUR_US


# ---- what ends the stream ----

OPENING = {"socket": 1, "token": "x"}
BAD_BATCHES: dict[str, dict[str, Any]] = {
    "a second hello": {"hello": {"gateway_id": "again"}},
    "a second hello with a vector": {"hello": {"followed": [{"writer": 1, "number": 0}]}},
    "too many entries": {"closes": range(MOST_ENTRIES + 1)},
    "too many entries of several kinds": {
        "drained": range(MOST_ENTRIES // 2),
        "closes": range(MOST_ENTRIES // 2 + 1),
    },
}
BAD_HELLOS: dict[str, dict[str, Any]] = {
    "a long id": {"gateway_id": "x" * 65},
    "a writer twice": {"followed": [{"writer": 1, "number": 1}, {"writer": 1, "number": 2}]},
    "many writers": {"followed": [{"writer": writer} for writer in range(1_001)]},
    "a number that no database has": {"followed": [{"writer": 1, "number": BEYOND}]},
}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("batch", BAD_BATCHES.values(), ids=BAD_BATCHES)
async def test_a_batch_that_cannot_be_meant_ends_the_stream(house: House, batch: dict[str, Any]) -> None:
    """One gateway's mistake would hold up, or fill, what all gateways share."""
    async with attached(house.messenger) as stream:
        await stream.write(**batch)
        assert await stream.end() is grpc.StatusCode.INVALID_ARGUMENT
    await house.check_served()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("hello", BAD_HELLOS.values(), ids=BAD_HELLOS)
async def test_a_hello_that_cannot_be_meant_ends_the_stream(house: House, hello: dict[str, Any]) -> None:
    """A replica would wait for transactions that will never be."""
    stream = Stream(house.messenger)
    await stream.write(hello=hello, reopened=True)
    assert await stream.end() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.asyncio(loop_scope="module")
async def test_a_socket_that_is_open_is_not_opened_again(house: House) -> None:
    """Its user would be online for ever, and deliveries would be written to nobody."""
    async with attached(house.messenger) as stream:
        await stream.opened(socket=1, token=house.token(house.alice))
        await stream.write(opens=[{"socket": 1, "token": house.token(house.alice)}])
        assert await stream.end() is grpc.StatusCode.INVALID_ARGUMENT
    await house.check_served()


# ---- what is refused alone ----


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "token",
    ["", "x", "ü" * 50, "a.b.c", "e30.e30.e30", "x" * 1_000_000, "W1tb" * 900 + ".e30.e30"],
    ids=["empty", "short", "no ASCII", "dots", "no key", "long", "a deep header"],
)
async def test_a_token_that_is_none_opens_nothing(house: House, token: str) -> None:
    """One client's odd token would break the stream of everybody on its gateway."""
    async with attached(house.messenger) as stream:
        assert (await stream.opened(socket=1, token=token)).error == "unauthenticated"
        assert not (await stream.opened(socket=2, token=house.token(house.alice))).error
        read = {"number": 1, "token": token, "list_messages": {"chat_id": house.chat_id, "limit": 1}}
        await stream.write(reads=[read])
        assert (await stream.read_until("read_replies")).error.code == "unauthenticated"


def sends_of(chat_id: bytes) -> dict[str, dict[str, Any]]:
    """Sends that are not well formed."""
    good = {"chat_id": chat_id, "client_ids": [new_id()], "texts": ["x"]}
    return {
        "no chat": {**good, "chat_id": b""},
        "a long chat": {**good, "chat_id": chat_id + b"x"},
        "no texts": {**good, "client_ids": [], "texts": []},
        "more ids than texts": {**good, "client_ids": [new_id(), new_id()]},
        "a short client id": {**good, "client_ids": [b"x"]},
        "too many texts": {**good, "client_ids": [new_id()] * 1_001, "texts": ["x"] * 1_001},
    }


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("case", sends_of(b"x" * 16))
async def test_a_send_that_is_not_well_formed_is_refused(house: House, case: str) -> None:
    """The transaction of everybody's messages would fail for one."""
    async with attached(house.messenger) as stream:
        await stream.opened(socket=1, token=house.token(house.alice))
        await stream.write(sends=[{"socket": 1, "request": 5, **sends_of(house.chat_id)[case]}])
        reply = await stream.read_until("sent", lambda one: one.request == 5)
    # Numbers of texts are a setting, which a gateway may have otherwise
    assert reply.error.code == ("invalid" if case in ("no texts", "too many texts") else "malformed")
    await house.check_served()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "traceparent",
    ["x", "x" * 55, "x" * 1_000_000, "00-" + "g" * 32 + "-" + "0" * 16 + "-01", "\n" * 55, "é" * 55],
)
async def test_a_message_is_not_lost_for_its_trace(house: House, traceparent: str) -> None:
    """What is no trace id would be stored with the message, and be shown wherever it goes."""
    async with attached(house.messenger) as stream:
        await stream.opened(socket=1, token=house.token(house.alice))
        send = {"socket": 1, "request": 5, "chat_id": house.chat_id, "client_ids": [new_id()], "texts": ["x"]}
        await stream.write(sends=[{**send, "traceparent": traceparent}])
        stored = await stream.read_until("deliveries", lambda one: one.request == 5)
    request = pb.InspectMessageRequest(chat_id=house.chat_id, seq=stored.first_seq)
    found = await house.messenger.call_with((), "InspectMessage", request)
    assert found.message.trace_id == ""


BAD_FRAMES: dict[str, Callable[[bytes], dict[str, Any]]] = {
    "a receipt of no chat": lambda _: {"receipts": [{"chat_id": b"x", "read_seq": 1}]},
    "a receipt beyond all seqs": lambda chat: {"receipts": [{"chat_id": chat, "read_seq": BEYOND}]},
    "received beyond all seqs": lambda chat: {"receipts": [{"chat_id": chat, "received_seq": 2**64 - 1}]},
    "typing in no chat": lambda chat: {"typings": [{"chat_id": chat * 2}]},
    "a cursor of no chat": lambda _: {"resumes": [{"chat_ids": [b""], "after_seqs": [1]}]},
    "a cursor beyond all seqs": lambda chat: {"resumes": [{"chat_ids": [chat], "after_seqs": [BEYOND]}]},
    "a cursor without a seq": lambda chat: {"resumes": [{"chat_ids": [chat], "after_seqs": []}]},
    "too many cursors": lambda chat: {"resumes": [{"chat_ids": [chat] * 1001, "after_seqs": [1] * 1001}]},
}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("case", BAD_FRAMES)
async def test_what_a_frame_cannot_mean_is_refused(house: House, case: str) -> None:
    """The database's integers overflow: the receipts of everybody in the same transaction would be lost."""
    (field, [entry]), *_ = BAD_FRAMES[case](house.chat_id).items()
    async with attached(house.messenger) as stream:
        await stream.opened(socket=1, token=house.token(house.alice))
        await stream.write(**{field: [{"socket": 1, **entry}]})
        refused = await stream.read_until("errors")
    assert (refused.socket, refused.error.code) == (1, "invalid")
    await house.check_served()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("field", ["before_seq", "after_seq"])
@pytest.mark.parametrize("from_start", [False, True])
async def test_a_page_beyond_all_seqs_is_no_fault_of_ours(house: House, field: str, from_start: bool) -> None:
    """An alert would wake an operator for a caller's mistake."""
    listing = {"chat_id": house.chat_id, "limit": 5, field: 2**64 - 1, "from_start": from_start}
    read = {"number": 1, "token": house.token(house.alice), "list_messages": listing}
    async with attached(house.messenger) as stream:
        await stream.write(reads=[read])
        reply = await stream.read_until("read_replies")
    assert reply.error.code in ("", "invalid")


# ---- anything ----

EDGES = [0, 1, 2**31, 2**32 - 1]
WIDE_EDGES = [*EDGES, 2**53, 2**63 - 1, BEYOND, 2**64 - 1]
SIGNED = [0, 1, -1, 2**63 - 1, -(2**63), 10**15]


def values_of(field: FieldDescriptor, ids: list[bytes], tokens: list[str]) -> st.SearchStrategy[Any]:
    """Values of a field, of which most are nearly right."""
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        return messages_of(field.message_type._concrete_class, ids, tokens)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.sampled_from(ids) | st.binary(max_size=20)
    if field.type == FieldDescriptor.TYPE_STRING:
        known = tokens if field.name == "token" else ["", "x", "\0", "ü" * 300, "AAAA" * 8]
        return st.sampled_from(known) | st.text(st.characters(codec="utf-8"), max_size=20)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return st.booleans()
    if field.type == FieldDescriptor.TYPE_UINT32:
        return st.sampled_from(EDGES)
    return st.sampled_from(SIGNED if field.type == FieldDescriptor.TYPE_INT64 else WIDE_EDGES)


def messages_of(kind: Any, ids: list[bytes], tokens: list[str]) -> st.SearchStrategy[Any]:
    """Messages of a kind with any fields."""
    given_fields = {}
    for field in kind.DESCRIPTOR.fields:
        values = values_of(field, ids, tokens)
        given_fields[field.name] = st.lists(values, max_size=3) if field.is_repeated else values
    return st.fixed_dictionaries({}, optional=given_fields).map(lambda fields: kind(**fields))


METHODS = {
    method.name: method.input_type._concrete_class
    for method in pb.DESCRIPTOR.services_by_name["Messenger"].methods
    if method.name != "Attach"
}
FUZZ = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", METHODS)
async def test_no_request_is_a_fault_of_ours(house: House, name: str) -> None:
    """A caller's mistake would be a traceback in the log, or break what all share."""
    ids = [house.chat_id, house.alice, house.bob, new_id(), b"", b"x" * 17]
    loop = asyncio.get_running_loop()
    method = house.messenger.channel.unary_unary(f"/{SERVICE}/{name}", None, None)
    bearer = (("authorization", f"Bearer {house.token(house.alice)}"),)
    found: list[str] = []

    async def call(raw: bytes) -> None:
        try:
            await method(raw, timeout=10, metadata=bearer)
            found.append("OK")
        except grpc.aio.AioRpcError as error:
            found.append(error.code().name)
        assert found[-1] in REFUSED, (found[-1], raw)

    @FUZZ
    @given(
        messages_of(METHODS[name], ids, [""]).map(lambda one: one.SerializeToString())
        | st.binary(max_size=40)
    )
    def fuzz(raw: bytes) -> None:
        asyncio.run_coroutine_threadsafe(call(raw), loop).result(20)

    await asyncio.to_thread(fuzz)
    assert "INVALID_ARGUMENT" in found
    await house.check_served()


@pytest.mark.asyncio(loop_scope="module")
async def test_no_batch_is_a_fault_of_ours(house: House) -> None:
    """A gateway that has gone mad would take the messenger from all others."""
    ids = [house.chat_id, house.alice, house.bob, new_id(), b"", b"x" * 17]
    tokens = [house.token(house.alice), house.token(house.bob), house.token(house.bob, seconds=-60), ""]
    loop = asyncio.get_running_loop()

    async def attach(raws: list[bytes]) -> None:
        call = house.messenger.channel.stream_stream(f"/{SERVICE}/Attach", None, None)(timeout=20)
        with contextlib.suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):
            for raw in raws:
                await call.write(raw)
            await call.done_writing()
            while await call.read() is not grpc.aio.EOF:
                pass
        code, details = await call.code(), await call.details()
        # grpcio's client says this by itself where the call ends while it writes
        if details != "Internal error from Core":
            assert code.name in ("OK", "INVALID_ARGUMENT"), (code, details, raws)

    batches = messages_of(pb.GatewayBatch, ids, tokens).map(lambda one: one.SerializeToString())

    @FUZZ
    @given(st.lists(batches | st.binary(max_size=30), min_size=1, max_size=4))
    def fuzz(raws: list[bytes]) -> None:
        asyncio.run_coroutine_threadsafe(attach(raws), loop).result(30)

    await asyncio.to_thread(fuzz)
    await house.check_served()
