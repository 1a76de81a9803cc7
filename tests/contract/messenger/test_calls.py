"""The unary calls, as a gateway makes them."""

import asyncio
import re

import pytest

from palaver.contracts import messenger_pb2 as pb
from palaver.contracts.errors import CONFLICT, FORBIDDEN, INVALID, NOT_FOUND, UNAVAILABLE, PalaverError
from palaver.contracts.ids import new_id
from tests.harness.message_pages import messages_in
from tests.harness.messenger_service import Messenger, client_ids
from tests.harness.waiting import eventually

# One event loop for the file: the messenger lives in it
pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.parametrize("database_url", ["sqlite", "mariadb"], indirect=True, scope="module"),
]


async def open_chat(messenger: Messenger, *names: str) -> tuple[bytes, bytes, bytes]:
    """A direct chat of two new users: (chat, one, other)."""
    one, other = (messenger.auth.sign_up(name) for name in names or ("Alice", "Bob"))
    chat = await messenger.call(one, "OpenDirectChat", pb.OpenDirectChatRequest(companion_id=other))
    return chat.id, one, other


async def send(messenger: Messenger, user_id: bytes, chat_id: bytes, *texts: str) -> list[pb.Message]:
    request = pb.SendMessagesRequest(chat_id=chat_id, client_ids=client_ids(len(texts)), texts=texts)
    return list((await messenger.call(user_id, "SendMessages", request)).messages)


async def test_a_direct_chat_is_the_same_for_both(messenger: Messenger) -> None:
    """Without it two people would write into different chats."""
    alice, bob = messenger.auth.sign_up("Alice"), messenger.auth.sign_up("Bob", "Jones")
    opened = await asyncio.gather(
        *(
            messenger.call(me, "OpenDirectChat", pb.OpenDirectChatRequest(companion_id=companion))
            for me, companion in [(alice, bob), (bob, alice)] * 4
        )
    )
    assert len({chat.id for chat in opened}) == 1
    assert sorted(chat.existed for chat in opened) == [False] + [True] * 7
    found = await messenger.call(bob, "FindDirectChat", pb.FindDirectChatRequest(companion_id=alice))
    assert found.id == opened[0].id
    assert not found.group
    names = {member.user_id: (member.name, member.surname) for member in found.members}
    assert names == {alice: ("Alice", "Smith"), bob: ("Bob", "Jones")}


async def test_a_chat_with_nobody_is_refused(messenger: Messenger) -> None:
    """Without it users would wait for answers in chats with oneself, or with ids that nobody has."""
    alice, bob = messenger.auth.sign_up("Alice"), messenger.auth.sign_up("Bob")
    for companion in (new_id(), alice, b"", b"too short"):
        request = pb.OpenDirectChatRequest(companion_id=companion)
        error = await messenger.refusal(alice, "OpenDirectChat", request)
        assert (error.kind, error.field) == (INVALID, "companion_id")
    finding = pb.FindDirectChatRequest(companion_id=bob)
    assert (await messenger.refusal(alice, "FindDirectChat", finding)).kind is NOT_FOUND


async def test_new_chats_wait_for_auth_and_old_ones_do_not(messenger: Messenger) -> None:
    """Without it chats with nobody could be made, or no chat be listed, while auth is away."""
    chat_id, alice, _ = await open_chat(messenger)
    carol = messenger.auth.sign_up("Carol")
    messenger.auth.away = True
    try:
        request = pb.OpenDirectChatRequest(companion_id=carol)
        assert (await messenger.refusal(alice, "OpenDirectChat", request)).kind is UNAVAILABLE
        page = await messenger.call(alice, "ListChats", pb.ListChatsRequest(limit=10))
        assert [chat.id for chat in page.chats] == [chat_id]
    finally:
        messenger.auth.away = False


async def test_a_group_is_made_once_a_key(messenger: Messenger) -> None:
    """Without it a client that repeats a request would make a group twice, or get somebody else's."""
    alice, bob, carol = (messenger.auth.sign_up(name) for name in ("Alice", "Bob", "Carol"))
    request = pb.CreateGroupRequest(title="Обед 🍜", member_ids=[bob, carol, bob, alice], idempotency_key="k")
    made = await asyncio.gather(*(messenger.call(alice, "CreateGroup", request) for _ in range(4)))
    assert len({chat.id for chat in made}) == 1
    assert sorted(chat.existed for chat in made) == [False, True, True, True]
    assert (made[0].group, made[0].title, made[0].created_by) == (True, "Обед 🍜", alice)
    assert {member.user_id for member in made[0].members} == {alice, bob, carol}
    other = await messenger.call(
        bob, "CreateGroup", pb.CreateGroupRequest(title="Обед 🍜", member_ids=[carol], idempotency_key="k")
    )
    assert other.id != made[0].id
    request.idempotency_key = ""
    assert (await messenger.call(alice, "CreateGroup", request)).id != made[0].id


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"title": ""}, "title"),
        ({"title": "x" * 201}, "title"),
        ({"title": "a\0b"}, "title"),
        ({"member_ids": []}, "member_ids"),
        ({"member_ids": [b"short"]}, "member_ids"),
        ({"member_ids": [new_id()]}, "member_ids"),
        ({"member_ids": client_ids(1_000)}, "member_ids"),
        ({"member_ids": client_ids(1_001)}, "member_ids"),
        ({"idempotency_key": "x" * 256}, "idempotency_key"),
    ],
)
async def test_a_group_that_cannot_be_names_the_wrong_field(
    messenger: Messenger, change: dict[str, object], field: str
) -> None:
    """Without it a client could not tell its user what to mend."""
    alice, bob = messenger.auth.sign_up("Alice"), messenger.auth.sign_up("Bob")
    given = {"title": "Lunch", "member_ids": [bob], **change}
    error = await messenger.refusal(alice, "CreateGroup", pb.CreateGroupRequest(**given))  # type: ignore[arg-type] # parametrized
    assert (error.kind, error.field) == (INVALID, field)


async def test_members_come_and_go(messenger: Messenger) -> None:
    """Without it the wrong people would get a group's messages after its members change."""
    alice, bob, carol = (messenger.auth.sign_up(name) for name in ("Alice", "Bob", "Carol"))
    request = pb.CreateGroupRequest(title="Lunch", member_ids=[bob])
    chat = await messenger.call(alice, "CreateGroup", request)
    await send(messenger, alice, chat.id, "first")
    adding = pb.AddMembersRequest(chat_id=chat.id, user_ids=[carol])
    added = await messenger.call(bob, "AddMembers", adding)
    assert {member.user_id for member in added.members} == {alice, bob, carol}
    await send(messenger, carol, chat.id, "second")
    removing = pb.RemoveMemberRequest(chat_id=chat.id, user_id=carol)
    assert (await messenger.refusal(bob, "RemoveMember", removing)).kind is FORBIDDEN
    await messenger.call(alice, "RemoveMember", removing)
    sending = pb.SendMessagesRequest(chat_id=chat.id, client_ids=client_ids(1), texts=["x"])
    assert (await messenger.refusal(carol, "SendMessages", sending)).kind is NOT_FOUND
    await send(messenger, alice, chat.id, "third")
    page = await messenger.call(carol, "ListMessages", pb.ListMessagesRequest(chat_id=chat.id, limit=10))
    assert [message.text for message in messages_in(page)] == ["first", "second"]
    assert page.last_seq == 2
    await messenger.call(bob, "AddMembers", adding)
    page = await messenger.call(carol, "ListMessages", pb.ListMessagesRequest(chat_id=chat.id, limit=10))
    assert [message.text for message in messages_in(page)] == ["first", "second", "third"]
    unknown = pb.AddMembersRequest(chat_id=chat.id, user_ids=[new_id()])
    error = await messenger.refusal(bob, "AddMembers", unknown)
    assert (error.kind, error.field) == (INVALID, "user_ids")


async def test_chats_are_listed_by_newest_activity(messenger: Messenger) -> None:
    """Without it a user would have to look for the chat that somebody just wrote in."""
    alice = messenger.auth.sign_up("Alice")
    chats = []
    for number in range(5):
        companion = messenger.auth.sign_up(str(number))
        request = pb.OpenDirectChatRequest(companion_id=companion)
        chats.append((await messenger.call(alice, "OpenDirectChat", request)).id)
        await send(messenger, companion, chats[-1], f"hello from {number}", "?")
    await send(messenger, alice, chats[1], "news")
    expected = [chats[number] for number in (1, 4, 3, 2, 0)]
    first = await messenger.call(alice, "ListChats", pb.ListChatsRequest(limit=3, with_total=True))
    second = await messenger.call(alice, "ListChats", pb.ListChatsRequest(limit=3, cursor=first.next_cursor))
    assert [chat.id for chat in (*first.chats, *second.chats)] == expected
    assert (first.total, second.total, second.next_cursor) == (5, 0, "")
    offset = await messenger.call(alice, "ListChats", pb.ListChatsRequest(limit=3, offset=3, with_total=True))
    assert [chat.id for chat in offset.chats] == expected[3:]
    assert [chat.last_message.text for chat in first.chats] == ["news", "?", "?"]
    assert [chat.unread for chat in first.chats] == [0, 2, 2]


async def test_the_largest_group_is_shown_and_listed(messenger: Messenger) -> None:
    """Whoever is added to groups of a thousand members with long names could not see their chats any more."""
    alice = messenger.auth.sign_up("Alice")
    others = [messenger.auth.sign_up("\N{FIRE}" * 100) for _ in range(999)]
    groups = [
        await messenger.call(alice, "CreateGroup", pb.CreateGroupRequest(title="t" * 200, member_ids=others))
        for _ in range(5)
    ]
    shown = await messenger.call(others[-1], "GetChat", pb.GetChatRequest(chat_id=groups[0].id))
    assert (len(shown.members), shown.member_count) == (1_000, 1_000)
    page = await messenger.call(others[-1], "ListChats", pb.ListChatsRequest(limit=200))
    assert [chat.member_count for chat in page.chats] == [1_000] * 5
    for chat in page.chats:
        assert len(chat.members) == 10
        assert others[-1] in {member.user_id for member in chat.members}
        assert all(member.name for member in chat.members)
    assert page.ByteSize() < 5 * 10_000


async def test_messages_are_read_both_ways(messenger: Messenger) -> None:
    """Without it clients could not scroll, or would not see what was sent as it was sent."""
    chat_id, alice, bob = await open_chat(messenger)
    sent = await send(messenger, alice, chat_id, *(f"Grüße {number}" for number in range(1, 101)))
    assert [message.seq for message in sent] == list(range(1, 101))

    async def read(**asked: int | bool) -> list[pb.Message]:
        request = pb.ListMessagesRequest(chat_id=chat_id, **asked)  # type: ignore[arg-type] # limit and one more
        return messages_in(await messenger.call(bob, "ListMessages", request))

    assert await read(limit=50) == sent[50:]
    assert await read(limit=10, before_seq=31) == sent[20:30]
    assert await read(limit=10, after_seq=31) == sent[31:41]
    assert await read(limit=10, from_start=True) == sent[:10]
    assert await read(limit=10, from_start=True, after_seq=95) == sent[95:]


async def test_a_client_id_is_stored_once(messenger: Messenger) -> None:
    """Without it a request that is repeated after a lost answer would double a message."""
    chat_id, alice, _ = await open_chat(messenger)
    request = pb.SendMessagesRequest(chat_id=chat_id, client_ids=client_ids(2), texts=["a", "b"], retry=True)
    first = await messenger.call(alice, "SendMessages", request)
    assert await messenger.call(alice, "SendMessages", request) == first
    page = await messenger.call(alice, "ListMessages", pb.ListMessagesRequest(chat_id=chat_id, limit=10))
    assert messages_in(page) == list(first.messages)


async def test_a_message_keeps_the_trace_that_it_came_with(messenger: Messenger) -> None:
    """Without it a message could not be followed back to the request that brought it."""
    chat_id, alice, _ = await open_chat(messenger)
    request = pb.SendMessagesRequest(chat_id=chat_id, client_ids=client_ids(1), texts=["a"])
    trace = "0af7651916cd43dd8448eb211c80319c"
    traceparent = f"00-{trace}-b7ad6b7169203331-01"
    sent = await messenger.call(alice, "SendMessages", request, traceparent=traceparent)
    assert sent.messages[0].trace_id == trace
    page = await messenger.call(alice, "ListMessages", pb.ListMessagesRequest(chat_id=chat_id, limit=1))
    assert messages_in(page)[0].trace_id == trace


@pytest.mark.parametrize(
    ("count", "texts", "field"),
    [
        (0, [], "texts"),
        (101, ["x"] * 101, "texts"),
        (1, ["x", "y"], "client_ids"),
        (2, ["x", ""], "texts.1"),
        (1, ["x" * 16_385], "texts.0"),
        (1, ["nul\0"], "texts.0"),
    ],
)
async def test_a_request_that_cannot_be_sent_names_the_wrong_field(
    messenger: Messenger, count: int, texts: list[str], field: str
) -> None:
    """Without it a client could not tell its user what to mend, or half of a request would be stored."""
    chat_id, alice, _ = await open_chat(messenger)
    request = pb.SendMessagesRequest(chat_id=chat_id, client_ids=client_ids(count), texts=texts)
    error = await messenger.refusal(alice, "SendMessages", request)
    assert (error.kind, error.field) == (INVALID, field)
    page = await messenger.call(alice, "ListMessages", pb.ListMessagesRequest(chat_id=chat_id, limit=1))
    assert page.last_seq == 0


async def test_a_client_id_must_be_an_id(messenger: Messenger) -> None:
    """Without it a client id of the wrong length would be an error on our side."""
    chat_id, alice, _ = await open_chat(messenger)
    request = pb.SendMessagesRequest(chat_id=chat_id, client_ids=[b"short"], texts=["x"])
    assert (await messenger.refusal(alice, "SendMessages", request)).field == "client_ids"


async def test_the_longest_texts_pass(messenger: Messenger) -> None:
    """Without it the documented limits would not be reached, by characters or by messages."""
    chat_id, alice, _ = await open_chat(messenger)
    texts = ["\N{GRINNING FACE}" * 16_384] * 100
    sent = await send(messenger, alice, chat_id, *texts)
    found: list[pb.Message] = []
    while len(found) < 100:
        request = pb.ListMessagesRequest(chat_id=chat_id, limit=100, after_seq=len(found), from_start=True)
        page = await messenger.call(alice, "ListMessages", request)
        # Others decide how long texts are, and must not decide how much comes at once
        assert 0 < page.ByteSize() < 1_200_000
        found += messages_in(page)
    assert found == sent


async def test_own_messages_are_edited_and_deleted(messenger: Messenger) -> None:
    """Without it a slip could not be mended, or others' words could be changed."""
    chat_id, alice, bob = await open_chat(messenger)
    await send(messenger, alice, chat_id, "one", "two", "three")
    edit = pb.EditMessageRequest(chat_id=chat_id, seq=2, text="zwei")
    edited = await messenger.call(alice, "EditMessage", edit)
    assert (edited.text, edited.seq) == ("zwei", 2)
    assert edited.edited_at >= edited.created_at > 0
    assert (await messenger.refusal(bob, "EditMessage", edit)).kind is FORBIDDEN
    delete = pb.DeleteMessageRequest(chat_id=chat_id, seq=2)
    assert (await messenger.refusal(bob, "DeleteMessage", delete)).kind is FORBIDDEN
    deleted = await messenger.call(alice, "DeleteMessage", delete)
    assert (deleted.text, deleted.seq) == ("", 2)
    assert deleted.deleted_at >= edited.edited_at
    assert await messenger.call(alice, "DeleteMessage", delete) == deleted
    assert (await messenger.refusal(alice, "EditMessage", edit)).kind is CONFLICT
    missing = pb.EditMessageRequest(chat_id=chat_id, seq=2**64 - 1, text="x")
    assert (await messenger.refusal(alice, "EditMessage", missing)).kind is NOT_FOUND
    empty = pb.EditMessageRequest(chat_id=chat_id, seq=1, text="")
    error = await messenger.refusal(alice, "EditMessage", empty)
    assert (error.kind, error.field) == (INVALID, "text")
    page = await messenger.call(bob, "ListMessages", pb.ListMessagesRequest(chat_id=chat_id, limit=10))
    assert [message.text for message in messages_in(page)] == ["one", "", "three"]


async def test_receipts_grow_and_lower_the_unread_count(messenger: Messenger) -> None:
    """Without it a chat would stay unread that was read on another device."""
    chat_id, alice, bob = await open_chat(messenger)
    await send(messenger, alice, chat_id, *"abcde")
    asked = pb.SetReceiptRequest(chat_id=chat_id, received_seq=4, read_seq=3)
    receipt = await messenger.call(bob, "SetReceipt", asked)
    assert (receipt.user_id, receipt.received_seq, receipt.read_seq) == (bob, 4, 3)
    back = pb.SetReceiptRequest(chat_id=chat_id, received_seq=1, read_seq=1)
    assert await messenger.call(bob, "SetReceipt", back) == receipt
    assert (await messenger.call(bob, "GetChat", pb.GetChatRequest(chat_id=chat_id))).unread == 2
    beyond = pb.SetReceiptRequest(chat_id=chat_id, read_seq=2**64 - 1)
    receipt = await messenger.call(bob, "SetReceipt", beyond)
    assert (receipt.received_seq, receipt.read_seq) == (5, 5)
    page = await messenger.call(alice, "ListMessages", pb.ListMessagesRequest(chat_id=chat_id, limit=1))
    told = {receipt.user_id: (receipt.received_seq, receipt.read_seq) for receipt in page.receipts}
    assert told == {alice: (5, 5), bob: (5, 5)}


async def test_an_old_client_reads_by_listing(messenger: Messenger) -> None:
    """Without it what old clients have read would stay `created` for ever, since they say no receipts."""
    chat_id, alice, bob = await open_chat(messenger)
    await send(messenger, alice, chat_id, *"abcde")
    asked = pb.ListMessagesRequest(chat_id=chat_id, limit=3, from_start=True, mark_read=True)
    await messenger.call(bob, "ListMessages", asked)

    async def is_read() -> bool:
        chat = await messenger.call(bob, "GetChat", pb.GetChatRequest(chat_id=chat_id))
        return bool(chat.unread == 2)

    await eventually(is_read, "the three messages count as read")


@pytest.mark.parametrize(
    ("method", "request_", "field"),
    [
        ("GetChat", pb.GetChatRequest(chat_id=b"x"), "chat_id"),
        ("ListMessages", pb.ListMessagesRequest(chat_id=b"x", limit=1), "chat_id"),
        ("ListMessages", pb.ListMessagesRequest(chat_id=bytes(16)), "limit"),
        ("ListMessages", pb.ListMessagesRequest(chat_id=bytes(16), limit=1_001), "limit"),
        (
            "ListMessages",
            pb.ListMessagesRequest(chat_id=bytes(16), limit=1, before_seq=2, after_seq=1),
            "before_seq",
        ),
        ("ListChats", pb.ListChatsRequest(), "limit"),
        ("ListChats", pb.ListChatsRequest(limit=1, cursor="?"), "cursor"),
        ("ListChats", pb.ListChatsRequest(limit=1, cursor="AAAA", offset=1), "offset"),
        ("AddMembers", pb.AddMembersRequest(chat_id=bytes(16)), "user_ids"),
        ("RemoveMember", pb.RemoveMemberRequest(chat_id=bytes(16), user_id=b"x"), "user_id"),
        ("EditMessage", pb.EditMessageRequest(chat_id=b"x", text="y"), "chat_id"),
        ("DeleteMessage", pb.DeleteMessageRequest(chat_id=b"x"), "chat_id"),
        ("SetReceipt", pb.SetReceiptRequest(chat_id=b"x"), "chat_id"),
        ("SendMessages", pb.SendMessagesRequest(chat_id=b"x"), "chat_id"),
    ],
)
async def test_what_cannot_be_meant_names_the_field(
    messenger: Messenger, method: str, request_: object, field: str
) -> None:
    """Without it a mistake in a request would be an error on our side, or be found by guessing."""
    error = await messenger.refusal(messenger.auth.sign_up("Alice"), method, request_)
    assert (error.kind, error.field) == (INVALID, field)
    assert re.search(field, error.message)


async def test_members_show_when_they_were_last_seen(messenger: Messenger) -> None:
    """Without it nobody would be shown as online, or everybody would."""
    chat_id, alice, _ = await open_chat(messenger)
    chat = await messenger.call(alice, "GetChat", pb.GetChatRequest(chat_id=chat_id))
    assert [(member.online, member.last_seen_at) for member in chat.members] == [(False, 0)] * 2
    assert all(member.joined_at == chat.created_at > 0 for member in chat.members)


async def test_an_operator_sees_all_of_a_message_but_its_text(messenger: Messenger) -> None:
    """Nobody could answer where a message is; or an operator would read it."""
    alice, bob = messenger.auth.sign_up("Alice"), messenger.auth.sign_up("Bob")
    request = pb.CreateGroupRequest(title="x", member_ids=[bob], idempotency_key="inspected")
    chat_id = (await messenger.call(alice, "CreateGroup", request)).id
    send = pb.SendMessagesRequest(chat_id=chat_id, client_ids=client_ids(1), texts=["a secret"])
    sent = (await messenger.call(alice, "SendMessages", send)).messages[0]
    await messenger.call(alice, "RemoveMember", pb.RemoveMemberRequest(chat_id=chat_id, user_id=bob))
    found = await messenger.call_with((), "InspectMessage", pb.InspectMessageRequest(chat_id=chat_id, seq=1))
    sent.text = ""
    assert (found.message, found.group) == (sent, True)
    assert [(one.user_id, one.name, one.surname) for one in found.members] == [
        (alice, "Alice", "Smith"),
        (bob, "Bob", "Smith"),
    ]
    assert [one.left_seq if one.HasField("left_seq") else None for one in found.members] == [None, 1]
    assert [(one.received_seq, one.read_seq) for one in found.members] == [(1, 1), (0, 0)]
    with pytest.raises(PalaverError, match="no message 2 of this chat") as caught:
        await messenger.call_with((), "InspectMessage", pb.InspectMessageRequest(chat_id=chat_id, seq=2))
    assert caught.value.kind is NOT_FOUND
