"""Promise P5: nobody reads, writes or learns the existence of a chat they are not a member of."""

from dataclasses import dataclass
from typing import Any

import grpc.aio
import pytest
import pytest_asyncio

from palaver.contracts import messenger_pb2 as pb
from palaver.contracts.errors import CATALOGUE, NOT_FOUND
from palaver.contracts.ids import new_id
from palaver.contracts.messenger_pb2_grpc import MessengerStub
from tests.harness.message_pages import messages_in
from tests.harness.messenger_service import Messenger, client_ids

# One event loop for the file: the messenger lives in it
pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Scene:
    """A group of Alice and Bob in which something was said, and a direct chat of theirs. Carol was a member
    of the group, and wrote message 2; Eve never was."""

    messenger: Messenger
    alice: bytes
    bob: bytes
    carol: bytes
    eve: bytes
    group: bytes
    direct: bytes


@pytest_asyncio.fixture(loop_scope="module")
async def scene(messenger: Messenger) -> Scene:
    alice, bob, carol, eve = (messenger.auth.sign_up(name) for name in ("Alice", "Bob", "Carol", "Eve"))
    request = pb.CreateGroupRequest(title="Secret", member_ids=[bob, carol], idempotency_key="key")
    group = (await messenger.call(alice, "CreateGroup", request)).id
    await say(messenger, alice, group, "before")
    await say(messenger, carol, group, "from Carol")
    await messenger.call(alice, "RemoveMember", pb.RemoveMemberRequest(chat_id=group, user_id=carol))
    await say(messenger, alice, group, "after")
    direct = (await messenger.call(alice, "OpenDirectChat", pb.OpenDirectChatRequest(companion_id=bob))).id
    await say(messenger, alice, direct, "between us")
    return Scene(messenger, alice, bob, carol, eve, group, direct)


async def say(messenger: Messenger, user_id: bytes, chat_id: bytes, text: str) -> None:
    request = pb.SendMessagesRequest(chat_id=chat_id, client_ids=client_ids(1), texts=[text])
    await messenger.call(user_id, "SendMessages", request)


def requests_about(chat_id: bytes, me: bytes, other: bytes) -> dict[str, list[Any]]:
    """Every unary call that names a chat, in ways that a member could use."""
    return {
        "GetChat": [pb.GetChatRequest(chat_id=chat_id)],
        "AddMembers": [
            pb.AddMembersRequest(chat_id=chat_id, user_ids=[me]),
            pb.AddMembersRequest(chat_id=chat_id, user_ids=[other]),
            pb.AddMembersRequest(chat_id=chat_id, user_ids=[bytes(16)]),
        ],
        "RemoveMember": [
            pb.RemoveMemberRequest(chat_id=chat_id, user_id=me),
            pb.RemoveMemberRequest(chat_id=chat_id, user_id=other),
        ],
        "ListMessages": [
            pb.ListMessagesRequest(chat_id=chat_id, limit=10),
            pb.ListMessagesRequest(chat_id=chat_id, limit=10, before_seq=3),
            pb.ListMessagesRequest(chat_id=chat_id, limit=10, from_start=True, mark_read=True),
        ],
        "SendMessages": [
            pb.SendMessagesRequest(chat_id=chat_id, client_ids=[bytes(16)], texts=["x"]),
            pb.SendMessagesRequest(chat_id=chat_id, client_ids=[bytes(16)], texts=["x"], retry=True),
        ],
        "EditMessage": [pb.EditMessageRequest(chat_id=chat_id, seq=seq, text="x") for seq in (1, 2, 99)],
        "DeleteMessage": [pb.DeleteMessageRequest(chat_id=chat_id, seq=seq) for seq in (1, 2, 99)],
        "SetReceipt": [pb.SetReceiptRequest(chat_id=chat_id, received_seq=1, read_seq=1)],
    }


# What somebody who left may still do: read, up to their leaving
READS = {"GetChat", "ListMessages"}
# Calls that name no chat: they are tested below
NAMELESS = {"OpenDirectChat", "FindDirectChat", "CreateGroup", "ListChats"}
# Operators call it on the private port: no gateway calls it, and its response holds no text
FOR_OPERATORS = {"InspectMessage"}


async def answer_to(messenger: Messenger, user_id: bytes, method: str, request: Any) -> tuple[Any, ...]:
    """All that a refused caller can see: status, text and trailing metadata; or the error of a read."""
    if method == "ListMessages":
        reply = await messenger.read_reply(messenger.auth.token(user_id), request)
        if reply.HasField("page"):
            return ("answered", reply.page)
        return (grpc.StatusCode[CATALOGUE[reply.error.code].grpc], str(reply.error))
    stub = MessengerStub(messenger.channel)  # type: ignore[no-untyped-call] # generated without types
    metadata = (("authorization", f"Bearer {messenger.auth.token(user_id)}"),)
    try:
        return ("answered", await getattr(stub, method)(request, timeout=10, metadata=metadata))
    except grpc.aio.AioRpcError as error:
        return (error.code(), error.details(), tuple(error.trailing_metadata() or ()))


async def test_every_call_is_tried() -> None:
    """Without it a new call could tell outsiders what it likes."""
    service = pb.DESCRIPTOR.services_by_name["Messenger"]
    unary = {method.name for method in service.methods if not method.server_streaming}
    # Pages are read by the stream, in the name of a token's user too
    assert unary | {"ListMessages"} == NAMELESS | FOR_OPERATORS | requests_about(b"", b"", b"").keys()


@pytest.mark.parametrize("method", sorted(requests_about(b"", b"", b"")))
async def test_a_chat_that_is_not_ones_own_looks_like_none(scene: Scene, method: str) -> None:
    """Without it anybody could find out which chats exist, or act in them."""
    messenger = scene.messenger
    missing = new_id()
    strangers = [(scene.eve, scene.group), (scene.eve, scene.direct), (scene.carol, scene.direct)]
    if method not in READS:
        strangers.append((scene.carol, scene.group))
    expected = requests_about(missing, scene.eve, scene.bob)[method]
    for number, request in enumerate(expected):
        nothing = await answer_to(messenger, scene.eve, method, request)
        assert nothing[0] is grpc.StatusCode.NOT_FOUND
        for user_id, chat_id in strangers:
            tried = requests_about(chat_id, user_id, scene.bob)[method][number]
            assert await answer_to(messenger, user_id, method, tried) == nothing


async def test_what_outsiders_tried_changed_nothing(scene: Scene) -> None:
    """Without it an outsider could write, though the answer says that there is no chat."""
    messenger = scene.messenger
    before = [await seen_by_members(scene, chat_id) for chat_id in (scene.group, scene.direct)]
    for user_id in (scene.eve, scene.carol):
        for chat_id in (scene.group, scene.direct):
            for method, requests in requests_about(chat_id, user_id, scene.bob).items():
                for request in requests:
                    await answer_to(messenger, user_id, method, request)
    assert [await seen_by_members(scene, chat_id) for chat_id in (scene.group, scene.direct)] == before


async def seen_by_members(scene: Scene, chat_id: bytes) -> list[Any]:
    calls = [
        ("GetChat", pb.GetChatRequest(chat_id=chat_id)),
        ("ListMessages", pb.ListMessagesRequest(chat_id=chat_id, limit=100)),
    ]
    return [
        await scene.messenger.call(user_id, method, request)
        for user_id in (scene.alice, scene.bob)
        for method, request in calls
    ]


async def test_who_left_sees_nothing_later(scene: Scene) -> None:
    """Without it a removed member could go on watching who writes, reads and joins."""
    messenger = scene.messenger

    async def look() -> list[Any]:
        return [
            await messenger.call(scene.carol, "GetChat", pb.GetChatRequest(chat_id=scene.group)),
            await messenger.call(scene.carol, "ListChats", pb.ListChatsRequest(limit=10, with_total=True)),
            *[
                await messenger.call(scene.carol, "ListMessages", request)
                for request in requests_about(scene.group, scene.carol, scene.bob)["ListMessages"]
            ],
        ]

    first = await look()
    assert (first[0].left, first[0].last_seq, first[0].last_message.text) == (True, 2, "from Carol")
    assert [message.text for message in messages_in(first[2])] == ["before", "from Carol"]
    await say(messenger, scene.bob, scene.group, "later")
    reading = pb.SetReceiptRequest(chat_id=scene.group, read_seq=4)
    await messenger.call(scene.alice, "SetReceipt", reading)
    adding = pb.AddMembersRequest(chat_id=scene.group, user_ids=[scene.eve])
    await messenger.call(scene.alice, "AddMembers", adding)
    assert await look() == first


async def test_calls_that_name_no_chat_show_only_ones_own(scene: Scene) -> None:
    """Without it lists and look-ups would show other people's chats."""
    messenger, eve = scene.messenger, scene.eve
    page = await messenger.call(eve, "ListChats", pb.ListChatsRequest(limit=100, with_total=True))
    assert (len(page.chats), page.total) == (0, 0)
    for companion in (scene.alice, scene.bob, new_id()):
        request = pb.FindDirectChatRequest(companion_id=companion)
        assert (await messenger.refusal(eve, "FindDirectChat", request)).kind is NOT_FOUND
    opened = await messenger.call(eve, "OpenDirectChat", pb.OpenDirectChatRequest(companion_id=scene.alice))
    assert opened.id not in (scene.group, scene.direct)
    assert opened.last_seq == 0
    # The same key as Alice's, but somebody else's
    creating = pb.CreateGroupRequest(title="Secret", member_ids=[scene.alice], idempotency_key="key")
    made = await messenger.call(eve, "CreateGroup", creating)
    assert made.id != scene.group
    assert not made.existed


async def test_without_a_good_token_nothing_is_told(scene: Scene) -> None:
    """Without it the gateway's mistakes would open all chats: the messenger verifies tokens itself."""
    stub = MessengerStub(scene.messenger.channel)  # type: ignore[no-untyped-call] # generated without types
    good = scene.messenger.auth.token(scene.alice)
    expired = scene.messenger.auth.token(scene.alice, seconds=-60)
    forged = good[:-8] + ("A" * 8 if good[-8:] != "A" * 8 else "B" * 8)
    request = pb.GetChatRequest(chat_id=scene.group)
    for metadata in (
        (),
        (("authorization", ""),),
        (("authorization", "Bearer "),),
        (("authorization", "Bearer x"),),
        (("authorization", f"Bearer {expired}"),),
        (("authorization", f"Bearer {forged}"),),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetChat(request, timeout=10, metadata=metadata)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert (await stub.GetChat(request, timeout=10, metadata=(("authorization", f"Bearer {good}"),))).id
