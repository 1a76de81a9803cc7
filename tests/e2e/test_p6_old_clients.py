"""Promise P6: clients of v0 and v1 get the shapes of their generation, byte for byte in keys and types."""

import asyncio
import re
import uuid
from typing import Any
from uuid import UUID

import pytest

from tests.harness.http_client import HttpResponse
from tests.harness.users import PASSWORD, ApiClient, ApiUser, v1_frame

ACCOUNT = {
    "password": "x",
    "name": "Bob",
    "surname": "Tallor",
    "birthday": "1994-04-10T20:21:25+00:00",
    "sex": "male",
    "city": "New York",
    "interests": "programming",
}
USER_KEYS = ["id", "email", "name", "surname", "birthday", "sex", "city", "interests"]
MESSAGE_KEYS = ["id", "text", "status", "create_time", "user_id", "chat_id"]
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z")
NOBODY = "00000000-0000-7000-8000-000000000000"


def new_account() -> dict[str, str]:
    """A sign-up body with an email of its own."""
    return {"email": f"{uuid.uuid4().hex}@example.org", **ACCOUNT}


def check_refusal(answer: HttpResponse, status: int) -> None:
    """An error as old clients parse it: these two keys, and 0."""
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json) == ["code", "message"]
    assert answer.json["code"] == 0
    assert type(answer.json["code"]) is int
    assert isinstance(answer.json["message"], str)
    assert answer.json["message"]


def check_id(text: str) -> None:
    """A UUID in its canonical form."""
    assert str(UUID(text)) == text


async def pair(api: ApiClient) -> tuple[ApiUser, ApiUser, str]:
    """Bob, Alice, and their chat, opened by v1."""
    bob, alice = await api.sign_up("Bob"), await api.sign_up("Alice", "Swift")
    opened = await bob.legacy("POST", "/messenger/create-chat", {"companion_id": alice.user_id})
    return bob, alice, opened.ok()["chat_id"]


async def statuses(user: ApiUser, chat_id: str) -> list[str]:
    """The statuses of a chat's messages, without marking them read for this user."""
    everything = (await user.legacy("GET", f"/messenger/messages?chat_id={chat_id}")).ok()["messages"]
    return [message["status"] for message in everything]


async def wait_for_status(user: ApiUser, chat_id: str, status: str) -> None:
    """Returns when all messages of a chat have this status: implied receipts are written once a second."""
    async with asyncio.timeout(5):
        while set(await statuses(user, chat_id)) != {status}:  # noqa: ASYNC110 - it is the server that is waited for
            await asyncio.sleep(0.05)


# ---- accounts ----


async def test_sign_up_and_in(api: ApiClient) -> None:
    """Old apps could neither register nor log in."""
    account = new_account()
    assert (await api.call("POST", "/auth/sign-up", account)).body == b"{}"
    pair = {"email": account["email"], "password": account["password"]}
    tokens = (await api.call("POST", "/auth/sign-in", pair)).ok()
    assert list(tokens) == ["access_token", "refresh_token"]
    assert all(isinstance(token, str) and token for token in tokens.values())
    check_refusal(await api.call("POST", "/auth/sign-up", account), 409)
    check_refusal(await api.call("POST", "/auth/sign-in", pair | {"password": "y"}), 401)
    check_refusal(await api.call("POST", "/auth/sign-in", pair | {"email": "nobody@example.org"}), 401)
    check_refusal(await api.call("POST", "/auth/sign-in", {"email": account["email"]}), 400)


@pytest.mark.parametrize("missing", ["email", *ACCOUNT])
async def test_every_field_of_a_sign_up_is_required(api: ApiClient, missing: str) -> None:
    """Old apps would show profiles with holes, or crash on them."""
    account = {key: value for key, value in new_account().items() if key != missing}
    check_refusal(await api.call("POST", "/auth/sign-up", account), 400)


@pytest.mark.parametrize(
    "wrong", [{"sex": "other"}, {"birthday": "yesterday"}, {"email": "nobody"}, {"name": 5}, {"password": ""}]
)
async def test_a_wrong_field_of_a_sign_up_is_refused(api: ApiClient, wrong: dict[str, Any]) -> None:
    """Old apps would be told of a success, and their users could not sign in."""
    check_refusal(await api.call("POST", "/auth/sign-up", new_account() | wrong), 400)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"text"', b"\xff"])
async def test_a_body_that_is_none_is_refused(api: ApiClient, body: bytes) -> None:
    """Old apps parse the error's two keys, whatever they sent."""
    check_refusal(await api.call("POST", "/auth/sign-up", data=body), 400)
    check_refusal(await api.call("POST", "/auth/sign-in", data=body), 400)
    check_refusal(await api.call("PUT", "/auth/token", data=body), 400)


async def test_tokens_are_refreshed(api: ApiClient) -> None:
    """Old apps would log out after half an hour."""
    bob = await api.sign_up()
    fresh = (await api.call("PUT", "/auth/token", {"refresh_token": bob.refresh_token})).ok()
    assert list(fresh) == ["access_token", "refresh_token"]
    assert fresh["refresh_token"] != bob.refresh_token
    bob.token = fresh["access_token"]
    assert (await bob.legacy("GET", "/auth/user/get-by-token")).status == 200
    check_refusal(await api.call("PUT", "/auth/token", {"refresh_token": "made up"}), 401)


async def test_a_new_sign_in_leaves_other_devices(api: ApiClient) -> None:
    """A second phone would log the first one out."""
    bob = await api.sign_up()
    pair = {"email": bob.email, "password": PASSWORD}
    (await api.call("POST", "/auth/sign-in", pair)).ok()
    assert (await bob.legacy("GET", "/auth/user/get-by-token")).status == 200


@pytest.mark.parametrize("path", ["/auth/user", "/auth/user/get-by-email"])
async def test_a_user_is_found_by_email(api: ApiClient, path: str) -> None:
    """The walkthrough, and every old app, opens a chat by the other's email."""
    bob, alice = await api.sign_up("Bob"), await api.sign_up("Alice")
    found = await bob.legacy("GET", f"{path}?email={alice.email}")
    assert found.body == b'{"user_id":"%s"}' % alice.user_id.encode()
    check_refusal(await bob.legacy("GET", f"{path}?email=nobody@example.org"), 400)
    check_refusal(await bob.legacy("GET", path), 400)
    check_refusal(await api.call("GET", f"{path}?email={alice.email}"), 401)


async def test_a_user_is_found_by_token(api: ApiClient) -> None:
    """Old apps would not know whose they are."""
    account = new_account()
    (await api.call("POST", "/auth/sign-up", account)).ok()
    bob = await api.sign_in(account["email"], account["password"])
    user = (await bob.legacy("GET", "/auth/user/get-by-token")).ok()
    assert list(user) == USER_KEYS
    check_id(user["id"])
    assert user == {
        **{key: account[key] for key in USER_KEYS if key in account},
        "id": bob.user_id,
        "birthday": "1994-04-10T00:00:00Z",
    }
    check_refusal(await api.call("GET", "/auth/user/get-by-token"), 401)


async def test_users_are_found_by_name(api: ApiClient) -> None:
    """Old apps' search for people would be empty, or show oneself."""
    surname = "Q" + uuid.uuid4().hex
    bob = await api.sign_up("Bob", surname)
    others = {(await api.sign_up(name, surname)).user_id for name in ("Anna", "Ann", "Zoe")}
    path = "/social/profile/search-by-anthroponym?anthroponym="
    found = (await bob.legacy("GET", path + surname[:20])).ok()
    assert list(found) == ["count", "users"]
    assert found["count"] == 3
    assert {user["id"] for user in found["users"]} == others
    assert all(list(user) == USER_KEYS for user in found["users"])
    for words in (f"Ann%20{surname[:20]}", f"{surname[:20]}%20Ann"):
        two = (await bob.legacy("GET", path + words)).ok()
        assert {user["name"] for user in two["users"]} == {"Ann", "Anna"}
    part = (await bob.legacy("GET", f"{path}{surname[:20]}&limit=1&offset=1")).ok()
    assert part["count"] == 3
    assert part["users"] == found["users"][1:2]
    check_refusal(await api.call("GET", path + surname), 401)


@pytest.mark.parametrize("prefix", ["", "Bearer ", "bearer "])
async def test_a_token_with_and_without_prefix(api: ApiClient, prefix: str) -> None:
    """Half of the old apps would be signed out for ever."""
    bob = await api.sign_up()
    assert (await api.call("GET", "/auth/user/get-by-token", token=prefix + bob.token)).status == 200
    check_refusal(await api.call("GET", "/auth/user/get-by-token", token=prefix + "no.such.token"), 401)


# ---- dialogs ----


async def test_a_pair_has_one_chat(api: ApiClient) -> None:
    """A conversation would split in two, each side writing into its own half."""
    bob, alice = await api.sign_up("Bob"), await api.sign_up("Alice")
    asked = [(bob, alice), (alice, bob)] * 4
    answers = await asyncio.gather(
        *(a.legacy("POST", "/messenger/create-chat", {"companion_id": b.user_id}) for a, b in asked)
    )
    assert [list(answer.ok()) for answer in answers] == [["chat_id"]] * 8
    assert len({answer.body for answer in answers}) == 1
    check_id(answers[0].json["chat_id"])


async def test_a_chat_with_nobody_is_refused(api: ApiClient) -> None:
    """Old apps would write into a chat that nobody reads."""
    bob = await api.sign_up()
    for companion in (NOBODY, bob.user_id, "no uuid", 5, None):
        answer = await bob.legacy("POST", "/messenger/create-chat", {"companion_id": companion})
        check_refusal(answer, 400)
    check_refusal(await bob.legacy("POST", "/messenger/create-chat", {}), 400)
    check_refusal(await api.call("POST", "/messenger/create-chat", {"companion_id": bob.user_id}), 401)


async def test_chats_are_listed(api: ApiClient) -> None:
    """Old apps' first screen would be empty."""
    bob, alice, chat_id = await pair(api)
    henry = await api.sign_up("Henry", "Cavill")
    newer = await bob.chat_with(henry)
    page = (await bob.legacy("GET", "/messenger/chats")).ok()
    assert list(page) == ["total", "limit", "offset", "chats"]
    assert (page["total"], page["limit"], page["offset"]) == (2, 10, 0)
    assert [chat["id"] for chat in page["chats"]] == [newer, chat_id]
    for chat in page["chats"]:
        assert list(chat) == ["id", "create_time", "participants"]
        assert TIME.fullmatch(chat["create_time"])
    assert page["chats"][1]["participants"] == [{"id": alice.user_id, "name": "Alice", "surname": "Swift"}]
    assert list(page["chats"][0]["participants"][0]) == ["id", "name", "surname"]
    part = (await bob.legacy("GET", "/messenger/chats?limit=1&offset=1")).ok()
    assert (part["total"], part["limit"], part["offset"]) == (2, 1, 1)
    assert part["chats"] == page["chats"][1:]
    nobody = (await api.sign_up()).legacy("GET", "/messenger/chats")
    assert (await nobody).body == b'{"total":0,"limit":10,"offset":0,"chats":[]}'
    check_refusal(await api.call("GET", "/messenger/chats"), 401)


async def test_messages_are_listed(api: ApiClient) -> None:
    """Old apps would show a conversation empty, upside down, or not at all."""
    bob, alice, chat_id = await pair(api)
    await bob.send(chat_id, *(f"text {number}" for number in range(12)))
    path = f"/messenger/messages?chat_id={chat_id}"
    page = (await alice.legacy("GET", path)).ok()
    assert list(page) == ["total", "limit", "offset", "messages"]
    assert (page["total"], page["limit"], page["offset"]) == (12, 10, 0)
    assert [message["text"] for message in page["messages"]] == [f"text {number}" for number in range(10)]
    for message in page["messages"]:
        assert list(message) == MESSAGE_KEYS
        assert TIME.fullmatch(message["create_time"])
        assert (message["user_id"], message["chat_id"]) == (bob.user_id, chat_id)
        check_id(message["id"])
    part = (await alice.legacy("GET", path + "&limit=5&offset=10")).ok()
    assert (part["total"], part["limit"], part["offset"]) == (12, 5, 10)
    assert [message["text"] for message in part["messages"]] == ["text 10", "text 11"]
    check_refusal(await api.call("GET", path), 401)
    check_refusal(await alice.legacy("GET", f"/messenger/messages?chat_id={NOBODY}"), 404)
    check_refusal(await alice.legacy("GET", "/messenger/messages"), 400)
    check_refusal(await alice.legacy("GET", "/messenger/messages?chat_id=5"), 400)
    check_refusal(await alice.legacy("GET", path + "&limit=-1"), 400)
    check_refusal(await alice.legacy("GET", path + "&offset=x"), 400)


async def test_statuses_follow_receipts(api: ApiClient) -> None:
    """Old apps' ticks beside a message would never change, or lie."""
    bob, alice, chat_id = await pair(api)
    sent = await bob.send(chat_id, "one", "two", "three")
    assert await statuses(bob, chat_id) == ["created"] * 3
    await alice.v2("PUT", f"/chats/{chat_id}/receipt", {"received_seq": 2})
    assert await statuses(bob, chat_id) == ["received", "received", "created"]
    await alice.v2("PUT", f"/chats/{chat_id}/receipt", {"read_seq": 1})
    assert await statuses(bob, chat_id) == ["read", "received", "created"]
    await bob.v2("DELETE", f"/chats/{chat_id}/messages/{sent[2]['seq']}")
    page = (await bob.legacy("GET", f"/messenger/messages?chat_id={chat_id}")).ok()
    assert [message["status"] for message in page["messages"]] == ["read", "received", "deleted"]
    assert page["messages"][2]["text"] == ""


async def test_old_clients_receipts_are_implied(api: ApiClient) -> None:
    """Two old apps would never see each other's messages received or read."""
    bob, alice, chat_id = await pair(api)
    async with alice.socket_v1() as wire:
        await bob.send(chat_id, "Hello")
        assert await wire.receive() == v1_frame(chat_id, "Hello")
        await wait_for_status(bob, chat_id, "received")
    await alice.legacy("GET", f"/messenger/messages?chat_id={chat_id}")
    await wait_for_status(bob, chat_id, "read")


# ---- sockets ----


async def test_frames_byte_for_byte(api: ApiClient) -> None:
    """Old apps compare strings: one more space, and messages do not show."""
    bob, alice, chat_id = await pair(api)
    alice_too = await api.sign_in(alice.email)
    async with bob.socket_v1() as b, alice.socket_v1() as a, alice_too.socket_v1() as a_too:
        texts = r"{\"status\":\"read\", \"text\":\"Привет 👋🏽 \\\"you\\\"\"}, {\"text\":\"second\"}"
        payload = r"{ \"messages\": [ " + texts + r"], \"chat_id\": \"" + chat_id + r"\", \"more\": 1 }"
        loose = '{"payload": "' + payload + '", "topic": "messenger", "action": "send-message", "more": 0}'
        b.send(loose)
        expected = v1_frame(chat_id, 'Привет 👋🏽 "you"', "second")
        assert await a.receive() == expected
        assert await a_too.receive() == expected
        # The sender hears no acknowledgement: the next thing that it hears is the answer
        a.send(v1_frame(chat_id, "Hello, Bob!"))
        assert await b.receive() == v1_frame(chat_id, "Hello, Bob!")
        assert await a_too.receive() == v1_frame(chat_id, "Hello, Bob!")
        b.send(v1_frame(chat_id, "Bye"))
        assert await a.receive() == v1_frame(chat_id, "Bye")


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "{",
        "[]",
        "null",
        '{"topic":"messenger","action":"send-message"}',
        '{"topic":"messenger","action":"send-message","payload":"{}"}',
        '{"topic":"messenger","action":"send-message","payload":{}}',
        '{"topic":"other","action":"send-message","payload":"{}"}',
        '{"topic":"messenger","action":"other","payload":"{}"}',
        v1_frame("no uuid", "text"),
        v1_frame(NOBODY, "text"),
        v1_frame(NOBODY),
        v1_frame(NOBODY, ""),
        v1_frame(NOBODY, "\0"),
    ],
)
async def test_a_bad_frame_is_answered_and_the_socket_stays(api: ApiClient, frame: str) -> None:
    """One bad frame would cut an old app off, or vanish without a trace as it used to."""
    bob, alice, chat_id = await pair(api)
    async with bob.socket_v1() as b, alice.socket_v1() as a:
        b.send(frame)
        error = await b.receive()
        assert re.fullmatch(
            r'\{"topic":"messenger","action":"error","payload":"\{\\"code\\":0,\\"message\\":\\".+\\"\}"\}',
            error,
        )
        b.send(v1_frame(chat_id, "still here"))
        assert await a.receive() == v1_frame(chat_id, "still here")


async def test_a_bad_token_is_refused_before_the_upgrade(api: ApiClient) -> None:
    """Old apps sign in again at a 401, and at nothing else."""
    upgrade = {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    for query in ("", "?token=", "?token=no.such.token"):
        check_refusal(await api.call("GET", "/messenger/ws" + query, headers=upgrade), 401)


async def test_a_frame_reaches_new_clients_too(api: ApiClient) -> None:
    """Old and new apps could not talk to each other."""
    bob, alice, chat_id = await pair(api)
    async with bob.socket_v1() as b, alice.socket_v2() as a:
        b.send(v1_frame(chat_id, "one", "two"))
        frames = [await a.receive_type("message"), await a.receive_type("message")]
        assert [(f["text"], f["seq"], f["sender_id"]) for f in frames] == [
            ("one", 1, bob.user_id),
            ("two", 2, bob.user_id),
        ]
        await alice.send(chat_id, "three")
        assert await b.receive() == v1_frame(chat_id, "three")
