"""v1 chats and messages: keys and types to the byte."""

from typing import Any
from uuid import UUID

import pytest

from palaver.contracts import messenger_pb2 as pb
from palaver.contracts.errors import INVALID, NOT_FOUND, PalaverError
from tests.harness.message_pages import page_of
from tests.harness.scripted_upstreams import ALICE, BOB, CHAT, GatewayClient, message
from tests.unit.gateway.http.test_errors import is_old_error

pytestmark = pytest.mark.asyncio(loop_scope="session")

CREATED = 1_735_331_080_100_248
HENRY = UUID(int=77)


async def test_create_chat(gateway: GatewayClient) -> None:
    """Old clients could not begin to talk."""
    gateway.messenger.answers["OpenDirectChat"] = pb.Chat(id=CHAT.bytes)
    answer = await gateway.call("POST", "/messenger/create-chat", {"companion_id": str(ALICE)})
    assert (answer.status, answer.body) == (200, f'{{"chat_id":"{CHAT}"}}'.encode())


async def test_create_chat_refuses_with_400(gateway: GatewayClient) -> None:
    """Old clients, which know 400 alone, would report a broken server."""
    for kind in (NOT_FOUND, INVALID):
        gateway.messenger.answers["OpenDirectChat"] = PalaverError(kind, "no", field="companion_id")
        is_old_error(await gateway.call("POST", "/messenger/create-chat", {"companion_id": str(BOB)}), 400)
    is_old_error(await gateway.call("POST", "/messenger/create-chat", {"companion_id": "x"}), 400)
    is_old_error(await gateway.call("POST", "/messenger/create-chat", b"{"), 400)


async def test_list_chats(gateway: GatewayClient) -> None:
    """Old clients could not show chats."""
    members = [
        pb.Member(user_id=BOB.bytes, name="Bob", surname="Tallor"),
        pb.Member(user_id=ALICE.bytes, name="Alice", surname="Swift"),
    ]
    chat = pb.Chat(id=CHAT.bytes, created_at=CREATED, members=members)
    gateway.messenger.answers["ListChats"] = pb.ChatPage(chats=[chat], total=31)
    expected = (
        f'{{"total":31,"limit":%d,"offset":%d,"chats":[{{"id":"{CHAT}",'
        f'"create_time":"2024-12-27T20:24:40.100248Z",'
        f'"participants":[{{"id":"{ALICE}","name":"Alice","surname":"Swift"}}]}}]}}'
    )
    assert (await gateway.call("GET", "/messenger/chats")).body == (expected % (10, 0)).encode()
    answer = await gateway.call("GET", "/messenger/chats?limit=3&offset=30")
    assert answer.body == (expected % (3, 30)).encode()
    asked = gateway.messenger.requests("ListChats")[-1]
    assert asked == pb.ListChatsRequest(limit=3, offset=30, with_total=True)


async def test_a_limit_of_0_tells_the_total_alone(gateway: GatewayClient) -> None:
    """Old clients that count first would be refused, or mark a message as read by counting."""
    gateway.messenger.answers["ListChats"] = pb.ChatPage(chats=[pb.Chat(id=CHAT.bytes)], total=31)
    answer = await gateway.call("GET", "/messenger/chats?limit=0")
    assert answer.json == {"total": 31, "limit": 0, "offset": 0, "chats": []}
    gateway.messenger.answers["ListMessages"] = page_of([message(1)], last_seq=9)
    answer = await gateway.call("GET", f"/messenger/messages?chat_id={CHAT}&limit=0")
    assert answer.json == {"total": 9, "limit": 0, "offset": 0, "messages": []}
    assert not gateway.messenger.requests("ListMessages")[0].mark_read


async def test_list_messages(gateway: GatewayClient) -> None:
    """Old clients could not show a history, or would show it in the wrong order."""
    receipts = [
        pb.Receipt(user_id=BOB.bytes, received_seq=9, read_seq=9),
        pb.Receipt(user_id=ALICE.bytes, received_seq=2, read_seq=1),
    ]
    gateway.messenger.answers["ListMessages"] = page_of(
        [message(1), message(2)], last_seq=9, receipts=receipts
    )
    answer = await gateway.call("GET", f"/messenger/messages?chat_id={CHAT}&limit=2&offset=0")
    entry = (
        f'{{"id":"%s","text":"Hello, Alice!","status":"%s","create_time":"2024-12-27T20:25:01.331207Z",'
        f'"user_id":"{BOB}","chat_id":"{CHAT}"}}'
    )
    entries = entry % (UUID(int=1), "read") + "," + entry % (UUID(int=2), "received")
    assert answer.body == f'{{"total":9,"limit":2,"offset":0,"messages":[{entries}]}}'.encode()
    asked = gateway.messenger.requests("ListMessages")[0]
    assert asked == pb.ListMessagesRequest(
        chat_id=CHAT.bytes, limit=2, after_seq=0, from_start=True, mark_read=True
    )


async def test_pages_by_offset(gateway: GatewayClient) -> None:
    """Old clients would read the first page for ever; or one request would take a whole history."""
    gateway.messenger.answers["ListMessages"] = pb.MessagePage(last_seq=9)
    answer = await gateway.call("GET", f"/messenger/messages?chat_id={CHAT}&offset=7&limit=1{'0' * 30}")
    assert answer.json == {"total": 9, "limit": 1000, "offset": 7, "messages": []}
    asked = gateway.messenger.requests("ListMessages")[0]
    assert (asked.limit, asked.after_seq) == (1000, 7)


async def test_a_page_that_ends_early_says_how_far_it_goes(gateway: GatewayClient) -> None:
    """Whoever goes on at offset + limit would miss the messages that long texts left no room for."""
    gateway.messenger.answers["ListMessages"] = page_of([message(4), message(5)], last_seq=9)
    answer = await gateway.call("GET", f"/messenger/messages?chat_id={CHAT}&offset=3&limit=50")
    assert (answer.json["limit"], len(answer.json["messages"])) == (2, 2)
    gateway.messenger.answers["ListMessages"] = page_of([message(8), message(9)], last_seq=9)
    answer = await gateway.call("GET", f"/messenger/messages?chat_id={CHAT}&offset=7&limit=50")
    assert (answer.json["limit"], len(answer.json["messages"])) == (50, 2)


async def test_an_unknown_chat_is_404(gateway: GatewayClient) -> None:
    """An old client could not tell that it has no part in a chat."""
    gateway.messenger.answers["ListMessages"] = PalaverError(NOT_FOUND)
    is_old_error(await gateway.call("GET", f"/messenger/messages?chat_id={CHAT}"), 404)


@pytest.mark.parametrize(
    ("sender", "seq", "more", "status"),
    [
        (BOB, 1, {}, "read"),
        (BOB, 2, {}, "received"),
        (BOB, 3, {}, "created"),
        (ALICE, 3, {}, "received"),
        (HENRY, 4, {}, "created"),
        (BOB, 1, {"deleted_at": 5}, "deleted"),
    ],
)
async def test_status_is_the_least_of_all_but_the_sender(
    gateway: GatewayClient, sender: UUID, seq: int, more: Any, status: str
) -> None:
    """An old client would show a message as read that somebody has not read."""
    receipts = [
        pb.Receipt(user_id=BOB.bytes, received_seq=9, read_seq=0),
        pb.Receipt(user_id=ALICE.bytes, received_seq=2, read_seq=1),
        pb.Receipt(user_id=HENRY.bytes, received_seq=9, read_seq=9),
    ]
    gateway.messenger.answers["ListMessages"] = page_of(
        [message(seq, sender, **more)], last_seq=9, receipts=receipts
    )
    answer = await gateway.call("GET", f"/messenger/messages?chat_id={CHAT}")
    assert answer.json["messages"][0]["status"] == status


async def test_a_message_that_nobody_else_can_read_is_created(gateway: GatewayClient) -> None:
    """A message to an empty group would show as read."""
    receipts = [pb.Receipt(user_id=BOB.bytes, received_seq=9, read_seq=9)]
    gateway.messenger.answers["ListMessages"] = page_of([message(1)], last_seq=9, receipts=receipts)
    answer = await gateway.call("GET", f"/messenger/messages?chat_id={CHAT}")
    assert answer.json["messages"][0]["status"] == "created"
