"""v2 chats, receipts and members."""

from typing import Any

import pytest

from palaver.contracts import messenger_pb2 as pb
from tests.harness.scripted_upstreams import ALICE, BOB, CHAT, GatewayClient, message
from tests.unit.gateway.http.test_errors import is_problem

pytestmark = pytest.mark.asyncio(loop_scope="session")

CREATED = 1_735_331_080_100_248


def chat(**more: Any) -> pb.Chat:
    """Bob's and Alice's chat."""
    members = [
        pb.Member(user_id=BOB.bytes, name="Bob", surname="Tallor", online=True, last_seen_at=CREATED),
        pb.Member(user_id=ALICE.bytes, name="Alice", surname="Swift", received_seq=2, read_seq=1),
    ]
    return pb.Chat(
        id=CHAT.bytes,
        created_at=CREATED,
        created_by=BOB.bytes,
        active_at=CREATED,
        members=members,
        **{"member_count": 2, **more},
    )


SHOWN = {
    "id": str(CHAT),
    "kind": "direct",
    "title": "",
    "created_at": "2024-12-27T20:24:40.100248Z",
    "created_by": str(BOB),
    "last_seq": 0,
    "unread": 0,
    "active_at": "2024-12-27T20:24:40.100248Z",
    "last_message": None,
    "members": [
        {
            "user_id": str(BOB),
            "name": "Bob",
            "surname": "Tallor",
            "online": True,
            "last_seen_at": "2024-12-27T20:24:40.100248Z",
            "received_seq": 0,
            "read_seq": 0,
        },
        {
            "user_id": str(ALICE),
            "name": "Alice",
            "surname": "Swift",
            "online": False,
            "last_seen_at": None,
            "received_seq": 2,
            "read_seq": 1,
        },
    ],
    "member_count": 2,
    "left": False,
}


@pytest.mark.parametrize(("existed", "status"), [(False, 201), (True, 200)])
async def test_open_a_direct_chat(gateway: GatewayClient, existed: bool, status: int) -> None:
    """Two people could not begin to talk; or a client could not tell a new chat from the old one."""
    gateway.messenger.answers["OpenDirectChat"] = chat(existed=existed)
    answer = await gateway.call("POST", "/v2/chats", {"companion_id": str(ALICE)})
    assert (answer.status, answer.json) == (status, SHOWN)
    assert gateway.messenger.requests("OpenDirectChat")[0].companion_id == ALICE.bytes


async def test_create_a_group(gateway: GatewayClient) -> None:
    """A group that a client asks for twice, for want of an answer, would be two groups."""
    gateway.messenger.answers["CreateGroup"] = chat(group=True, title="Tour")
    body = {"title": "Tour", "member_ids": [str(ALICE)]}
    answer = await gateway.call("POST", "/v2/chats", body, idempotency_key="mine")
    assert (answer.status, answer.json) == (201, {**SHOWN, "kind": "group", "title": "Tour"})
    await gateway.call("POST", "/v2/chats", body)
    await gateway.call("POST", "/v2/chats", body)
    first, second, third = gateway.messenger.requests("CreateGroup")
    assert (first.title, first.member_ids, first.idempotency_key) == ("Tour", [ALICE.bytes], "mine")
    assert "" != second.idempotency_key != third.idempotency_key != ""


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"companion_id": "x"},
        {"companion_id": str(ALICE), "title": "Tour"},
        {"title": "Tour"},
        {"member_ids": [str(ALICE)]},
        {"title": "", "member_ids": [str(ALICE)]},
        {"title": "Tour", "member_ids": []},
        {"title": "Tour", "member_ids": [7]},
        {
            "title": "Tour\ud800".encode("utf-16", "surrogatepass").decode("latin-1"),
            "member_ids": [str(ALICE)],
        },
    ],
)
async def test_half_of_a_chat_is_refused(gateway: GatewayClient, body: Any) -> None:
    """A misunderstood request would open a chat that nobody meant."""
    is_problem(await gateway.call("POST", "/v2/chats", body), 422, "invalid")
    assert not gateway.messenger.calls


@pytest.mark.parametrize("key", ["k" * 201, "schlüssel", ""])
async def test_odd_idempotency_keys_are_refused(gateway: GatewayClient, key: str) -> None:
    """A key that proxies change on their way would not protect from repetition."""
    answer = await gateway.call("POST", "/v2/chats", {"companion_id": str(ALICE)}, idempotency_key=key)
    is_problem(answer, 422, "invalid")
    assert answer.json["errors"][0]["field"].lower() == "idempotency-key"


async def test_list(gateway: GatewayClient) -> None:
    """A client could not show chats, or not beyond the first page."""
    last = chat(
        last_seq=2, unread=1, last_message=message(2), last_text_cut=True, left=True, member_count=1_000
    )
    gateway.messenger.answers["ListChats"] = pb.ChatPage(chats=[last], next_cursor="n")
    answer = await gateway.call("GET", "/v2/chats?limit=1&cursor=c")
    assert (answer.json["next_cursor"], answer.json["has_more"]) == ("n", True)
    shown = answer.json["chats"][0]
    assert (shown["last_seq"], shown["unread"], shown["left"]) == (2, 1, True)
    assert (shown["last_message"]["seq"], shown["last_message"]["text_cut"]) == (2, True)
    assert (len(shown["members"]), shown["member_count"]) == (2, 1_000)
    asked = gateway.messenger.requests("ListChats")[0]
    assert (asked.limit, asked.cursor, asked.with_total) == (1, "c", False)
    gateway.messenger.answers["ListChats"] = pb.ChatPage()
    empty = {"chats": [], "next_cursor": None, "has_more": False}
    assert (await gateway.call("GET", "/v2/chats")).json == empty


async def test_receipt(gateway: GatewayClient) -> None:
    """What was read on one device would be unread on the others."""
    gateway.messenger.answers["SetReceipt"] = pb.Receipt(user_id=BOB.bytes, received_seq=5, read_seq=4)
    answer = await gateway.call("PUT", f"/v2/chats/{CHAT}/receipt", {"read_seq": 4})
    assert answer.json == {"user_id": str(BOB), "received_seq": 5, "read_seq": 4}
    asked = gateway.messenger.requests("SetReceipt")[0]
    assert (asked.chat_id, asked.received_seq, asked.read_seq) == (CHAT.bytes, 0, 4)


@pytest.mark.parametrize("seq", [-1, 2**63, "4", True, 1.5, None])
async def test_odd_receipts_are_refused(gateway: GatewayClient, seq: Any) -> None:
    """A number that the database cannot hold would fail there, as our error."""
    is_problem(await gateway.call("PUT", f"/v2/chats/{CHAT}/receipt", {"read_seq": seq}), 422, "invalid")


async def test_members(gateway: GatewayClient) -> None:
    """Nobody could join a group later, or leave it."""
    gateway.messenger.answers["AddMembers"] = chat(group=True)
    answer = await gateway.call("POST", f"/v2/chats/{CHAT}/members", {"user_ids": [str(ALICE)]})
    assert (answer.status, answer.json["kind"]) == (200, "group")
    assert list(gateway.messenger.requests("AddMembers")[0].user_ids) == [ALICE.bytes]
    gateway.messenger.answers["RemoveMember"] = pb.Empty()
    answer = await gateway.call("DELETE", f"/v2/chats/{CHAT}/members/{ALICE}")
    assert (answer.status, answer.body) == (204, b"")
    assert gateway.messenger.requests("RemoveMember")[0].user_id == ALICE.bytes
