"""Pages of history over the stream: what each ask is answered, and that it is what the call answers."""

import asyncio
from typing import Any

import grpc
import pytest

from palaver.contracts import messenger_pb2 as pb
from palaver.contracts.errors import error_to_wire
from palaver.contracts.ids import new_id
from palaver.contracts.messenger_pb2_grpc import MessengerStub
from palaver.messenger.realtime import gateway_connection as gateway
from tests.harness.fake_auth import FakeAuth
from tests.harness.messenger_service import Messenger, client_ids
from tests.harness.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def chat_with(messenger: Messenger, auth: FakeAuth, *texts: str) -> tuple[bytes, bytes, bytes]:
    """Two users and their chat, in which the first has said this."""
    alice, bob = auth.sign_up("Alice"), auth.sign_up("Bob")
    opening = pb.OpenDirectChatRequest(companion_id=bob)
    chat_id = (await messenger.call(alice, "OpenDirectChat", opening)).id
    sending = pb.SendMessagesRequest(chat_id=chat_id, client_ids=client_ids(len(texts)), texts=texts)
    await messenger.call(alice, "SendMessages", sending)
    return alice, bob, chat_id


async def ask(
    messenger: Messenger, token: str, *requests: pb.ListMessagesRequest
) -> list[list[tuple[int, Any]]]:
    """The answers to asks that go in one batch: by batch, each with its number."""
    stub = MessengerStub(messenger.channel)  # type: ignore[no-untyped-call] # generated without types
    stream = stub.Attach()
    numbered = enumerate(requests, 1)
    asks = [pb.ReadRequest(number=number, token=token, list_messages=request) for number, request in numbered]
    await stream.write(pb.GatewayBatch(hello={"gateway_id": "gateway"}, reopened=True, reads=asks))
    batches: list[list[tuple[int, Any]]] = []
    async with asyncio.timeout(10):
        while sum(map(len, batches)) < len(requests):
            batch = await stream.read()
            assert batch is not grpc.aio.EOF
            if batch.read_replies:
                batches.append([(one.number, one) for one in batch.read_replies])
    stream.cancel()
    return batches


async def test_a_page_is_answered_before_the_next_is_read(messenger: Messenger, auth: FakeAuth) -> None:
    """All readers of a moment would wait for the last of their pages, and senders for all of them."""
    _, bob, chat_id = await chat_with(messenger, auth, "one", "two", "three")
    requests = [pb.ListMessagesRequest(chat_id=chat_id, limit=limit) for limit in (1, 2, 3)]
    token = auth.token(bob)
    # The first time the token is verified, which may take longer
    await ask(messenger, token, requests[0])
    batches = await ask(messenger, token, *requests)
    assert len(batches[0]) == 1
    answers = [one for batch in batches for one in batch]
    assert [number for number, _ in answers] == [1, 2, 3]
    for number, answer in answers:
        assert answer.page == await messenger.call(bob, "ListMessages", requests[number - 1])
        assert len(answer.page.seqs) == number


async def test_one_page_answers_all_members_who_ask_for_it_together(
    messenger: Messenger, auth: FakeAuth
) -> None:
    """A page that a whole group opens at once would be read and encoded for each; or somebody who may not see
    it would get it because somebody else may (promise P5)."""
    alice, bob, carol, eve = (auth.sign_up(name) for name in ("Alice", "Bob", "Carol", "Eve"))
    group = pb.CreateGroupRequest(title="all", member_ids=[bob, carol])
    chat_id = (await messenger.call(alice, "CreateGroup", group)).id
    for text in ("one", "two"):
        sending = pb.SendMessagesRequest(chat_id=chat_id, client_ids=client_ids(1), texts=[text])
        await messenger.call(alice, "SendMessages", sending)
        if text == "one":
            leaving = pb.RemoveMemberRequest(chat_id=chat_id, user_id=carol)
            await messenger.call(carol, "RemoveMember", leaving)
    tokens = [auth.token(user) for user in (alice, carol, eve, bob, alice)]
    page = pb.ListMessagesRequest(chat_id=chat_id, limit=10)
    # The first time tokens are verified, which may take longer
    for token in tokens:
        await ask(messenger, token, page)
    answers = await ask_together(messenger, tokens, page)
    assert [list(answer.page.texts) for answer in answers] == [
        ["one", "two"],
        ["one"],
        [],
        ["one", "two"],
        ["one", "two"],
    ]
    assert [answer.error.code for answer in answers] == ["", "", "not_found", "", ""]
    assert answers[0] is answers[3] is answers[4]
    # A gateway of before
    answers = await ask_together(messenger, tokens, page, takes_shared_pages=False)
    assert [answer.number for answer in answers] == [0, 1, 2, 3, 4]
    assert answers[0].page == answers[3].page == answers[4].page


async def ask_together(
    messenger: Messenger,
    tokens: list[str],
    request: pb.ListMessagesRequest,
    *,
    takes_shared_pages: bool = True,
) -> list[pb.ReadReply]:
    """What answers each of those who ask for one page in one batch, in their order."""
    stub = MessengerStub(messenger.channel)  # type: ignore[no-untyped-call] # generated without types
    stream = stub.Attach()
    asks = [
        pb.ReadRequest(number=number, token=token, list_messages=request)
        for number, token in enumerate(tokens)
    ]
    hello = {"gateway_id": "gateway", "takes_shared_pages": takes_shared_pages}
    await stream.write(pb.GatewayBatch(hello=hello, reopened=True, reads=asks))
    answers: dict[int, pb.ReadReply] = {}
    async with asyncio.timeout(10):
        while len(answers) < len(tokens):
            batch = await stream.read()
            assert batch is not grpc.aio.EOF
            for reply in batch.read_replies:
                answers |= dict.fromkeys((reply.number, *reply.more_numbers), reply)
    stream.cancel()
    return [answers[number] for number in range(len(tokens))]


async def test_a_refused_ask_is_refused_as_the_call_is(messenger: Messenger, auth: FakeAuth) -> None:
    """Outsiders would learn which chats exist (promise P5), or a client what it did wrong never."""
    alice, _, chat_id = await chat_with(messenger, auth, "between us")
    eve = auth.sign_up("Eve")
    requests = [
        pb.ListMessagesRequest(chat_id=chat_id, limit=10),
        pb.ListMessagesRequest(chat_id=new_id(), limit=10),
        pb.ListMessagesRequest(chat_id=chat_id, limit=10, from_start=True, mark_read=True),
        pb.ListMessagesRequest(chat_id=b"x", limit=10),
        pb.ListMessagesRequest(chat_id=chat_id),
        pb.ListMessagesRequest(chat_id=chat_id, limit=1, before_seq=2, after_seq=1),
    ]
    for batch in await ask(messenger, auth.token(eve), *requests):
        for number, answer in batch:
            assert not answer.HasField("page")
            meant = error_to_wire(await messenger.refusal(eve, "ListMessages", requests[number - 1]))
            told = answer.error
            assert (told.code, told.message, told.field) == (meant.code, meant.message, meant.field)
    chat = await messenger.call(alice, "GetChat", pb.GetChatRequest(chat_id=chat_id))
    assert [member.read_seq for member in chat.members if member.user_id != alice] == [0]


async def test_an_ask_without_a_good_token_is_refused(messenger: Messenger, auth: FakeAuth) -> None:
    """The gateway's mistakes would open all chats: the messenger verifies tokens itself."""
    alice, _, chat_id = await chat_with(messenger, auth, "between us")
    request = pb.ListMessagesRequest(chat_id=chat_id, limit=10)
    for token in ("", "x", auth.token(alice, seconds=-60)):
        (((_, answer),),) = await ask(messenger, token, request)
        assert (answer.error.code, answer.HasField("page")) == ("unauthenticated", False)


async def test_who_reads_with_an_old_client_has_read(messenger: Messenger, auth: FakeAuth) -> None:
    """Old clients' companions would never see that their messages were read."""
    alice, bob, chat_id = await chat_with(messenger, auth, "one", "two")
    request = pb.ListMessagesRequest(chat_id=chat_id, limit=10, mark_read=True)
    await ask(messenger, auth.token(bob), request)

    async def is_read() -> bool:
        chat = await messenger.call(alice, "GetChat", pb.GetChatRequest(chat_id=chat_id))
        return [member.read_seq for member in chat.members if member.user_id == bob] == [2]

    await eventually(is_read, "read")


async def test_answers_that_wait_are_bounded(
    messenger: Messenger, auth: FakeAuth, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers of long pages would fill the messenger's memory (promise P9), or be answered never."""
    monkeypatch.setattr(gateway, "ROOM_BYTES", 1_000)
    _, bob, chat_id = await chat_with(messenger, auth, "x" * 1_000)
    requests = [pb.ListMessagesRequest(chat_id=chat_id, limit=limit) for limit in range(1, 6)]
    batches = await ask(messenger, auth.token(bob), *requests)
    assert sorted(number for batch in batches for number, _ in batch) == [1, 2, 3, 4, 5]
    assert len(batches) > 1


async def test_pages_have_one_way_in() -> None:
    """Pages would have a second door, which nobody tries; there was a unary call once."""
    methods = pb.DESCRIPTOR.services_by_name["Messenger"].methods_by_name
    assert "ListMessages" not in methods
    assert "Attach" in methods


async def test_one_reader_of_many_pages_does_not_keep_others_waiting(
    messenger: Messenger, auth: FakeAuth, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forty long pages that one account requests at once would make everybody's next page time out."""
    alice, bob, chat_id = await chat_with(messenger, auth, "long")
    full, room = asyncio.Event(), gateway.GatewayConnection.room
    connections: list[gateway.GatewayConnection] = []

    async def wait_for_room(connection: gateway.GatewayConnection) -> None:
        connections.append(connection)
        await full.wait()
        await room(connection)

    monkeypatch.setattr(gateway.GatewayConnection, "room", wait_for_room)
    stub = MessengerStub(messenger.channel)  # type: ignore[no-untyped-call] # generated without types
    stream = stub.Attach()
    tokens = [auth.token(alice)] * 40 + [auth.token(bob)] * 2
    asks = [
        pb.ReadRequest(number=number, token=token, list_messages={"chat_id": chat_id, "limit": number})
        for number, token in enumerate(tokens, 1)
    ]
    await stream.write(pb.GatewayBatch(hello={"gateway_id": "gateway"}, reopened=True, reads=asks))
    await eventually(lambda: bool(connections) and connections[0].reading_turns.waiting == 41, "all wait")
    full.set()
    answered: list[int] = []
    async with asyncio.timeout(20):
        while len(answered) < len(asks):
            batch = await stream.read()
            assert batch is not grpc.aio.EOF
            assert all(len(reply.page.seqs) == 1 for reply in batch.read_replies)
            answered += [reply.number for reply in batch.read_replies]
    stream.cancel()
    assert answered[:5] == [1, 2, 41, 3, 42]
