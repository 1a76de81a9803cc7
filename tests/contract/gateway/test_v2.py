"""v2 before the real services: every resource, as a new client uses it."""

import uuid
from typing import Any

import pytest

from tests.harness.users import PASSWORD, ApiClient, profile_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


def is_problem(answer: Any, status: int, code: str) -> None:
    """Asserts problem details of that code."""
    assert (answer.status, answer.json.get("code")) == (status, code), answer.body
    assert answer.headers["content-type"] == "application/problem+json"


async def test_an_account(api: ApiClient) -> None:
    """Nobody could make an account, or change what it says."""
    email = f"New-{uuid.uuid4().hex}@Example.org"
    account = {**profile_of("Nina", "New"), "email": email, "password": PASSWORD}
    user = (await api.call("POST", "/v2/users", account)).ok(201)
    assert user["email"] == email.lower()
    is_problem(await api.call("POST", "/v2/users", account), 409, "conflict")
    nina = await api.sign_in(email)
    assert (await nina.v2("GET", "/users/me")).ok() == user
    changed = (await nina.v2("PATCH", "/users/me", {"city": "Nashville"})).ok()
    assert changed == {**user, "city": "Nashville"}
    found = (await nina.v2("GET", f"/users?email={email.upper()}")).ok()
    assert found == {"users": [changed], "next_cursor": None, "has_more": False}


async def test_names_are_paged(api: ApiClient) -> None:
    """A search would end with its first page, or show somebody twice."""
    surname = "P" + uuid.uuid4().hex
    bob = await api.sign_up("Bob", surname)
    others = {(await api.sign_up(f"Friend{number}", surname)).user_id for number in range(5)}
    seen: list[str] = []
    cursor = ""
    while True:
        page = (await bob.v2("GET", f"/users?q={surname}&limit=2&cursor={cursor}")).ok()
        seen += [user["id"] for user in page["users"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert sorted(seen) == sorted(others)
    is_problem(await bob.v2("GET", f"/users?q={surname}&cursor=nonsense"), 422, "invalid")


async def test_sessions_come_and_go(api: ApiClient) -> None:
    """A lost device would stay signed in; or signing one out would sign out all."""
    bob = await api.sign_up("Bob")
    other = await api.sign_in(bob.email)
    listed = (await bob.v2("GET", "/sessions")).ok()["sessions"]
    assert {one["id"]: one["current"] for one in listed} == {bob.session_id: True, other.session_id: False}
    fresh = (await api.call("POST", "/v2/sessions/refresh", {"refresh_token": other.refresh_token})).ok()
    assert fresh["session_id"] == other.session_id
    assert (await bob.v2("DELETE", f"/sessions/{other.session_id}")).status == 204
    is_problem(await bob.v2("DELETE", f"/sessions/{uuid.uuid4()}"), 404, "not_found")
    assert (await bob.v2("DELETE", "/sessions/current")).status == 204


async def test_chats_and_groups(api: ApiClient) -> None:
    """Nobody could begin to talk, or find their chats again."""
    bob, alice, henry = [await api.sign_up(name) for name in ("Bob", "Alice", "Henry")]
    opened = await bob.v2("POST", "/chats", {"companion_id": alice.user_id})
    assert opened.status == 201
    again = await alice.v2("POST", "/chats", {"companion_id": bob.user_id})
    assert (again.status, again.json["id"]) == (200, opened.json["id"])
    body = {"title": "Tour", "member_ids": [alice.user_id]}
    key = {"idempotency-key": "tour"}
    group = (await bob.v2("POST", "/chats", body, headers=key)).ok(201)
    assert (await bob.v2("POST", "/chats", body, headers=key)).ok(200)["id"] == group["id"]
    joined = (await bob.v2("POST", f"/chats/{group['id']}/members", {"user_ids": [henry.user_id]})).ok()
    assert {member["user_id"] for member in joined["members"]} == {bob.user_id, alice.user_id, henry.user_id}
    assert (await henry.v2("DELETE", f"/chats/{group['id']}/members/{henry.user_id}")).status == 204
    assert (await henry.v2("GET", f"/chats/{group['id']}")).ok()["left"]
    first = (await bob.v2("GET", "/chats?limit=1")).ok()
    second = (await bob.v2("GET", f"/chats?limit=1&cursor={first['next_cursor']}")).ok()
    assert [first["chats"][0]["id"], second["chats"][0]["id"]] == [group["id"], opened.json["id"]]
    assert second["next_cursor"] is None
    is_problem(await henry.v2("GET", f"/chats/{opened.json['id']}"), 404, "not_found")
    is_problem(await bob.v2("POST", "/chats", {"companion_id": str(uuid.uuid4())}), 422, "invalid")


async def test_messages(api: ApiClient) -> None:
    """Messages would be lost, doubled by a repetition, or out of order."""
    bob, alice = await api.sign_up("Bob"), await api.sign_up("Alice")
    path = f"/chats/{await bob.chat_with(alice)}/messages"
    key = {"idempotency-key": "k"}
    body = {"messages": [{"text": "one"}, {"text": "two"}]}
    sent = (await bob.v2("POST", path, body, headers=key)).ok(201)["messages"]
    assert (await bob.v2("POST", path, body, headers=key)).ok(201)["messages"] == sent
    assert [(message["seq"], message["text"]) for message in sent] == [(1, "one"), (2, "two")]
    (await alice.v2("POST", path, {"text": "three \N{FAMILY}"})).ok(201)
    page = (await alice.v2("GET", path)).ok()
    assert page["messages"][:2] == sent
    assert (page["last_seq"], page["messages"][2]["text"]) == (3, "three \N{FAMILY}")
    for query, seqs in {
        "limit=2": [2, 3],
        "before_seq=3": [1, 2],
        "before_seq=1": [],
        "after_seq=0&limit=2": [1, 2],
        "after_seq=3": [],
        "after_seq=1&before_seq=3": [2],
        "after_seq=9223372036854775807": [],
        "before_seq=9223372036854775807&limit=1": [3],
    }.items():
        found = (await bob.v2("GET", f"{path}?{query}")).ok()["messages"]
        assert [message["seq"] for message in found] == seqs, query
    edited = (await bob.v2("PATCH", f"{path}/1", {"text": "uno"})).ok()
    assert (edited["text"], edited["seq"], edited["edited_at"] is None) == ("uno", 1, False)
    is_problem(await alice.v2("PATCH", f"{path}/1", {"text": "x"}), 403, "forbidden")
    deleted = (await bob.v2("DELETE", f"{path}/2")).ok()
    assert (deleted["text"], deleted["deleted_at"] is None) == ("", False)
    is_problem(await bob.v2("DELETE", f"{path}/99"), 404, "not_found")


async def test_unread_counts(api: ApiClient) -> None:
    """A client could not show how much is new, or it would never go away."""
    bob, alice = await api.sign_up("Bob"), await api.sign_up("Alice")
    chat_id = await bob.chat_with(alice)
    await bob.send(chat_id, "one", "two")
    assert (await alice.v2("GET", f"/chats/{chat_id}")).ok()["unread"] == 2
    receipt = (await alice.v2("PUT", f"/chats/{chat_id}/receipt", {"read_seq": 1})).ok()
    assert receipt == {"user_id": alice.user_id, "received_seq": 1, "read_seq": 1}
    chat = (await alice.v2("GET", f"/chats/{chat_id}")).ok()
    assert (chat["unread"], chat["last_message"]["text"]) == (1, "two")
