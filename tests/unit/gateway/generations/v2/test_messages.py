"""v2 messages."""

from typing import Any
from uuid import UUID

import pytest

from palaver.contracts import messenger_pb2 as pb
from palaver.contracts.errors import FORBIDDEN, PalaverError
from palaver.contracts.ids import derived_id
from tests.harness.message_pages import page_of
from tests.harness.scripted_upstreams import BOB, CHAT, GatewayClient, message, running_http_gateway
from tests.unit.gateway.http.test_errors import is_problem

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATH = f"/v2/chats/{CHAT}/messages"
CLIENT_ID = UUID("5b1f6c2e-94f0-4a6e-9d0c-2f7a8b3c1d4e")
FIRST = {
    "chat_id": str(CHAT),
    "seq": 1,
    "id": str(UUID(int=1)),
    "sender_id": str(BOB),
    "client_id": str(UUID(int=1001)),
    "text": "Hello, Alice!",
    "created_at": "2024-12-27T20:25:01.331207Z",
    "edited_at": None,
    "deleted_at": None,
    "trace_id": "",
}


def page(*seqs: int) -> pb.MessagePage:
    """A page of a chat of ten messages."""
    return page_of([message(seq) for seq in seqs], last_seq=10)


async def test_a_page(gateway: GatewayClient) -> None:
    """Nobody could read what was said."""
    gateway.messenger.answers["ListMessages"] = page(1)
    answer = await gateway.call("GET", PATH)
    assert answer.json == {"messages": [FIRST], "last_seq": 10, "has_more": False}
    asked = gateway.messenger.requests("ListMessages")[0]
    assert asked == pb.ListMessagesRequest(chat_id=CHAT.bytes, limit=50)


async def test_edited_and_deleted_messages(gateway: GatewayClient) -> None:
    """A client would show an old text, or a deleted one as empty."""
    changed = message(1, text="", edited_at=1_735_331_102_000_000, deleted_at=1_735_331_103_000_005)
    gateway.messenger.answers["ListMessages"] = page_of([changed], last_seq=1)
    shown = (await gateway.call("GET", PATH)).json["messages"][0]
    assert shown["edited_at"] == "2024-12-27T20:25:02.000000Z"
    assert (shown["deleted_at"], shown["text"]) == ("2024-12-27T20:25:03.000005Z", "")


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("before_seq=7&limit=3", {"before_seq": 7, "limit": 3}),
        ("after_seq=7", {"after_seq": 7, "from_start": True, "limit": 50}),
        ("after_seq=0", {"after_seq": 0, "from_start": True, "limit": 50}),
    ],
)
async def test_pages_go_both_ways(gateway: GatewayClient, query: str, asked: dict[str, Any]) -> None:
    """A client that scrolls would get the same page again, or miss some."""
    gateway.messenger.answers["ListMessages"] = page(1)
    await gateway.call("GET", f"{PATH}?{query}")
    request = gateway.messenger.requests("ListMessages")[0]
    assert request == pb.ListMessagesRequest(chat_id=CHAT.bytes, **asked)


async def test_a_window_has_both_ends(gateway: GatewayClient) -> None:
    """A client that fills a hole between two messages would get those behind it again."""
    gateway.messenger.answers["ListMessages"] = page(3, 4, 5, 6)
    answer = await gateway.call("GET", f"{PATH}?after_seq=2&before_seq=5")
    assert [one["seq"] for one in answer.json["messages"]] == [3, 4]


@pytest.mark.parametrize(
    ("query", "seqs", "has_more"),
    [
        ("", (9, 10), True),
        ("", (1, 2), False),
        ("", (), False),
        ("before_seq=5", (3, 4), True),
        ("before_seq=5", (1, 2, 3, 4), False),
        ("before_seq=1", (), False),
        ("after_seq=3", (4, 5), True),
        ("after_seq=8", (9, 10), False),
        ("after_seq=10", (), False),
        ("after_seq=2&before_seq=6", (3, 4), True),
        ("after_seq=2&before_seq=5", (3, 4, 5, 6), False),
        ("after_seq=2&before_seq=12", (3, 4), True),
    ],
)
async def test_a_page_says_whether_more_follow(
    gateway: GatewayClient, query: str, seqs: tuple[int, ...], has_more: bool
) -> None:
    """A page that long texts have cut short would look like the end of a history, the rest be missed."""
    gateway.messenger.answers["ListMessages"] = page(*seqs)
    for limit in (2, 200):
        answer = await gateway.call("GET", f"{PATH}?{query}&limit={limit}")
        assert answer.json["has_more"] is has_more


async def test_send_one(gateway: GatewayClient) -> None:
    """Nobody could say anything; or a repeated message would be two."""
    gateway.messenger.answers["SendMessages"] = pb.SentMessages(messages=[message(1)])
    body = {"text": "Hello, Alice!", "client_id": str(CLIENT_ID)}
    answer = await gateway.call("POST", PATH, body)
    assert (answer.status, answer.json) == (201, {"messages": [FIRST]})
    asked = gateway.messenger.requests("SendMessages")[0]
    assert (list(asked.client_ids), list(asked.texts), asked.retry) == (
        [CLIENT_ID.bytes],
        ["Hello, Alice!"],
        True,
    )


async def test_a_key_names_every_message(gateway: GatewayClient) -> None:
    """A request that is repeated with its `Idempotency-Key` would store its messages again."""
    gateway.messenger.answers["SendMessages"] = pb.SentMessages(messages=[message(1), message(2), message(3)])
    body = {"messages": [{"text": "a"}, {"text": "b", "client_id": str(CLIENT_ID)}, {"text": "c"}]}
    for _ in range(2):
        assert (await gateway.call("POST", PATH, body, idempotency_key="k")).status == 201
    first, second = gateway.messenger.requests("SendMessages")
    assert first == second
    assert list(first.client_ids) == [
        derived_id(BOB.bytes, "k:0"),
        CLIENT_ID.bytes,
        derived_id(BOB.bytes, "k:2"),
    ]


async def test_without_key_or_client_id_each_request_is_new(gateway: GatewayClient) -> None:
    """Saying the same thing twice on purpose would say it once."""
    gateway.messenger.answers["SendMessages"] = pb.SentMessages(messages=[message(1)])
    for _ in range(2):
        await gateway.call("POST", PATH, {"text": "again"})
    first, second = gateway.messenger.requests("SendMessages")
    assert len(first.client_ids[0]) == 16
    assert first.client_ids[0] != second.client_ids[0]
    assert not first.retry


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "text"),
        ({"text": ""}, "text"),
        ({"text": "a\0b"}, "text"),
        ({"text": "x" * 101}, "text"),
        ({"messages": []}, "messages"),
        ({"messages": [{"text": "x"}] * 4}, "messages"),
        ({"messages": [{"text": "x"}, {"text": ""}]}, "messages.1.text"),
        ({"messages": [{"text": "x"}], "text": "y"}, "messages"),
        ({"messages": [{"text": "x", "client_id": "no"}]}, "messages.0.client_id"),
        (b'{"text": "\\ud83d"}', "text"),
    ],
)
async def test_odd_messages_are_refused(body: Any, field: str) -> None:
    """Limits would not hold; or a client could not tell which of its messages is wrong."""
    async with running_http_gateway(text_characters=100, messages_per_request=3) as gateway:
        answer = await gateway.call("POST", PATH, body)
        is_problem(answer, 422, "invalid")
        assert answer.json["errors"][0]["field"] == field
        assert not gateway.messenger.calls


async def test_edit_and_delete(gateway: GatewayClient) -> None:
    """A slip of the pen would stand for ever; or somebody could change what others said."""
    gateway.messenger.answers["EditMessage"] = message(1, text="new")
    assert (await gateway.call("PATCH", f"{PATH}/1", {"text": "new"})).json == {**FIRST, "text": "new"}
    assert gateway.messenger.requests("EditMessage")[0].seq == 1
    gateway.messenger.answers["DeleteMessage"] = message(1, text="", deleted_at=1_735_331_103_000_005)
    assert (await gateway.call("DELETE", f"{PATH}/1")).json["text"] == ""
    gateway.messenger.answers["DeleteMessage"] = PalaverError(FORBIDDEN)
    is_problem(await gateway.call("DELETE", f"{PATH}/1"), 403, "forbidden")


@pytest.mark.parametrize("seq", ["0", "-1", "x", "9223372036854775808", "1.0", "%D9%A1", "%00"])
async def test_odd_seqs_are_refused(gateway: GatewayClient, seq: str) -> None:
    """A seq that only looks like a number would reach the database."""
    is_problem(await gateway.call("DELETE", f"{PATH}/{seq}"), 422, "invalid")
