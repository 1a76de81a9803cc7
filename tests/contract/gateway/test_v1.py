"""v1 and v0's path before the real services: what old clients parse, byte for byte (promise P6)."""

import asyncio
import re
import uuid
from typing import Any

import pytest

from tests.harness.users import ApiClient, ApiUser, profile_of, v1_frame

pytestmark = pytest.mark.asyncio(loop_scope="module")

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"
UUID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


def is_refused(answer: Any, status: int) -> None:
    """Asserts an error as old clients know it."""
    assert answer.status == status, answer.body
    assert answer.json.keys() == {"code", "message"}
    assert answer.json["code"] == 0


async def test_the_way_of_an_old_client(api: ApiClient) -> None:
    """Clients that nobody will update could not sign up, sign in, stay signed in or show a profile."""
    email = f"Old-{uuid.uuid4().hex}@Example.org"
    account = {**profile_of("Olga", "Old"), "email": email, "password": "1"}
    account["birthday"] = "1994-04-10T20:21:25+00:00"
    assert (await api.call("POST", "/auth/sign-up", account)).body == b"{}"
    is_refused(await api.call("POST", "/auth/sign-up", {**account, "email": email.lower()}), 409)
    pair = {"email": email, "password": "1"}
    is_refused(await api.call("POST", "/auth/sign-in", {**pair, "password": "2"}), 401)
    tokens = (await api.call("POST", "/auth/sign-in", pair)).ok()
    assert list(tokens) == ["access_token", "refresh_token"]
    fresh = (await api.call("PUT", "/auth/token", {"refresh_token": tokens["refresh_token"]})).ok()
    assert list(fresh) == ["access_token", "refresh_token"]
    token = fresh["access_token"]
    shown = await api.call("GET", "/auth/user/get-by-token", token=token)
    assert re.fullmatch(
        rf'{{"id":"{UUID}","email":"old-[0-9a-f]+@example.org","name":"Olga","surname":"Old",'
        r'"birthday":"1994-04-10T00:00:00Z","sex":"male","city":"New York","interests":"programming"}',
        shown.body.decode(),
    ), shown.body
    for path in ("/auth/user/get-by-email", "/auth/user"):
        found = await api.call("GET", f"{path}?email={email}", token=token)
        assert found.body == f'{{"user_id":"{shown.json["id"]}"}}'.encode()
        is_refused(await api.call("GET", f"{path}?email=nobody@example.org", token=token), 400)
        is_refused(await api.call("GET", f"{path}?email=no-email", token=token), 400)


async def test_search(api: ApiClient) -> None:
    """Old clients could not find people by the beginnings of their names, in either order."""
    surname = "S" + uuid.uuid4().hex
    bob = await api.sign_up("Bob", surname)
    await api.sign_up("Anna", surname)
    await api.sign_up("Aaron", surname)
    path = "/social/profile/search-by-anthroponym?anthroponym="
    found = (await bob.legacy("GET", path + surname[:20])).ok()
    assert list(found) == ["count", "users"]
    assert (found["count"], [user["name"] for user in found["users"]]) == (2, ["Aaron", "Anna"])
    for words in (f"an%20{surname.lower()}", f"{surname}%20AN"):
        assert [user["name"] for user in (await bob.legacy("GET", path + words)).ok()["users"]] == ["Anna"]
    page = (await bob.legacy("GET", f"{path}{surname}&limit=1&offset=1")).ok()
    assert (page["count"], [user["name"] for user in page["users"]]) == (2, ["Anna"])
    beyond = (await bob.legacy("GET", f"{path}{surname}&offset=9223372036854775807")).ok()
    assert beyond == {"count": 2, "users": []}


async def old_chat(bob: ApiUser, alice: ApiUser) -> str:
    """Their chat, by v1."""
    answer = await bob.legacy("POST", "/messenger/create-chat", {"companion_id": alice.user_id})
    assert re.fullmatch(rf'{{"chat_id":"{UUID}"}}', answer.body.decode())
    return str(answer.json["chat_id"])


async def test_one_chat_of_a_pair(api: ApiClient) -> None:
    """Both sides asking at once would talk past each other in two chats."""
    bob, alice = await api.sign_up("Bob"), await api.sign_up("Alice")
    chats = await asyncio.gather(*(old_chat(bob, alice) for _ in range(4)), old_chat(alice, bob))
    assert len(set(chats)) == 1
    for companion in (bob.user_id, str(uuid.uuid4()), "no-uuid", None):
        is_refused(await bob.legacy("POST", "/messenger/create-chat", {"companion_id": companion}), 400)


async def test_lists_of_chats(api: ApiClient) -> None:
    """Old clients could not show chats, or would show their own user as everybody's companion."""
    bob, alice = await api.sign_up("Bob"), await api.sign_up("Alice", "Swift")
    chat_id = await old_chat(bob, alice)
    answer = await bob.legacy("GET", "/messenger/chats")
    assert re.fullmatch(
        rf'{{"total":1,"limit":10,"offset":0,"chats":\[{{"id":"{chat_id}","create_time":"{TIME}",'
        rf'"participants":\[{{"id":"{alice.user_id}","name":"Alice","surname":"Swift"}}\]}}\]}}',
        answer.body.decode(),
    ), answer.body
    page = (await bob.legacy("GET", "/messenger/chats?limit=5&offset=1")).ok()
    assert page == {"total": 1, "limit": 5, "offset": 1, "chats": []}


async def test_a_history(api: ApiClient) -> None:
    """Old clients could not read what was said, by sockets or by newer clients."""
    bob, alice, henry = [await api.sign_up(name) for name in ("Bob", "Alice", "Henry")]
    chat_id = await old_chat(bob, alice)
    async with alice.socket_v1() as told, bob.socket_v1() as wire:
        wire.send(v1_frame(chat_id, "one", "two"))
        assert await told.receive() == v1_frame(chat_id, "one", "two")
    await bob.send(chat_id, "three")
    path = f"/messenger/messages?chat_id={chat_id}"
    first = await bob.legacy("GET", path + "&limit=1")
    assert re.fullmatch(
        rf'{{"total":3,"limit":1,"offset":0,"messages":\[{{"id":"{UUID}","text":"one",'
        rf'"status":"(created|received)","create_time":"{TIME}","user_id":"{bob.user_id}",'
        rf'"chat_id":"{chat_id}"}}\]}}',
        first.body.decode(),
    ), first.body
    texts = [message["text"] for message in (await bob.legacy("GET", path + "&offset=1")).ok()["messages"]]
    assert texts == ["two", "three"]
    is_refused(await henry.legacy("GET", path), 404)
    is_refused(await bob.legacy("GET", f"/messenger/messages?chat_id={uuid.uuid4()}"), 404)
    is_refused(await api.call("GET", path), 401)


async def test_statuses_follow_reading(api: ApiClient) -> None:
    """An old client's ticks would never turn, or turn before anybody has read."""
    bob, alice = await api.sign_up("Bob"), await api.sign_up("Alice")
    chat_id = await bob.chat_with(alice)
    await bob.send(chat_id, "one", "two", "three")
    path = f"/messenger/messages?chat_id={chat_id}"

    async def statuses() -> list[str]:
        return [message["status"] for message in (await bob.legacy("GET", path)).ok()["messages"]]

    assert await statuses() == ["created"] * 3
    (await alice.v2("PUT", f"/chats/{chat_id}/receipt", {"received_seq": 2})).ok()
    assert await statuses() == ["received", "received", "created"]
    (await alice.legacy("GET", path + "&limit=1")).ok()
    # What an old client has read is written soon, not at once
    async with asyncio.timeout(5):
        while await statuses() != ["read", "received", "created"]:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.02)
    (await bob.v2("DELETE", f"/chats/{chat_id}/messages/1")).ok()
    last = (await bob.legacy("GET", path)).ok()["messages"][0]
    assert (last["status"], last["text"]) == ("deleted", "")
