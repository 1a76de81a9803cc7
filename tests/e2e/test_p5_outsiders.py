"""Promise P5: nobody reads, writes or learns the existence of a chat that they are not a member of."""

import re
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from tests.harness.http_client import HttpResponse
from tests.harness.users import ApiClient, ApiUser, v1_frame, v2_send
from tests.harness.websocket_client import WebSocketClient

FENCE = str(uuid.UUID(int=9))

Ask = Callable[[ApiUser, str], Awaitable[HttpResponse]]


@dataclass
class Scene:
    """Bob's direct chat and Bob's group with Alice, which Henry has left. Eve belongs to neither."""

    bob: ApiUser
    alice: ApiUser
    henry: ApiUser
    eve: ApiUser
    direct: str
    group: str


@pytest.fixture
async def scene(api: ApiClient) -> Scene:
    """The chats have messages, one of them edited and one deleted."""
    bob, alice, henry, eve = [await api.sign_up(name) for name in ("Bob", "Alice", "Henry", "Eve")]
    direct = await bob.chat_with(alice)
    members = {"title": "Tour", "member_ids": [alice.user_id, henry.user_id]}
    group = (await bob.v2("POST", "/chats", members)).ok(201)["id"]
    for chat_id in (direct, group):
        await bob.send(chat_id, "one", "two", "three")
        (await bob.v2("PATCH", f"/chats/{chat_id}/messages/1", {"text": "uno"})).ok()
        (await bob.v2("DELETE", f"/chats/{chat_id}/messages/2")).ok()
    (await henry.v2("DELETE", f"/chats/{group}/members/{henry.user_id}")).ok(204)
    await bob.send(group, "without Henry")
    return Scene(bob, alice, henry, eve, direct, group)


def v2(method: str, path: str, body: Any = None) -> Ask:
    """A request of v2 about a chat; `CHAT` and `ME` stand for ids."""

    async def ask(user: ApiUser, chat_id: str) -> HttpResponse:
        filled = path.replace("CHAT", chat_id).replace("ME", user.user_id)
        return await user.v2(method, filled, body)

    return ask


def v1_messages(query: str) -> Ask:
    """A page of messages as v1 asks for it."""
    return lambda user, chat_id: user.legacy("GET", f"/messenger/messages?chat_id={chat_id}{query}")


CHANGES: dict[str, Ask] = {
    "send": v2("POST", "/chats/CHAT/messages", {"text": "let me in"}),
    "send many": v2("POST", "/chats/CHAT/messages", {"messages": [{"text": "a"}, {"text": "b"}]}),
    "edit": v2("PATCH", "/chats/CHAT/messages/1", {"text": "was here"}),
    "edit none": v2("PATCH", "/chats/CHAT/messages/99", {"text": "was here"}),
    "delete": v2("DELETE", "/chats/CHAT/messages/1"),
    "delete deleted": v2("DELETE", "/chats/CHAT/messages/2"),
    "receipt": v2("PUT", "/chats/CHAT/receipt", {"read_seq": 1}),
    "receipt of nothing": v2("PUT", "/chats/CHAT/receipt", {}),
    "add oneself": v2("POST", "/chats/CHAT/members", {"user_ids": [str(uuid.UUID(int=1))]}),
    "leave": v2("DELETE", "/chats/CHAT/members/ME"),
    "remove": v2("DELETE", f"/chats/CHAT/members/{uuid.UUID(int=1)}"),
}
READS: dict[str, Ask] = {
    "show": v2("GET", "/chats/CHAT"),
    "page": v2("GET", "/chats/CHAT/messages"),
    "page back": v2("GET", "/chats/CHAT/messages?before_seq=2"),
    "page on": v2("GET", "/chats/CHAT/messages?after_seq=1&limit=1"),
    "v1 page": v1_messages(""),
    "v1 page of none": v1_messages("&limit=0"),
    "v1 page behind": v1_messages("&offset=99"),
}
FRAMES: dict[str, Callable[[str], Any]] = {
    "v1 send": lambda chat_id: v1_frame(chat_id, "let me in"),
    "v2 send": lambda chat_id: v2_send(chat_id, "let me in", str(uuid.UUID(int=7))),
    "v2 receipt": lambda chat_id: {"type": "receipt", "chat_id": chat_id, "read_seq": 1},
    "v2 typing": lambda chat_id: {"type": "typing", "chat_id": chat_id},
    "v2 resume": lambda chat_id: {"type": "resume", "cursors": {chat_id: 0}},
}


def told(answer: HttpResponse, chat_id: str) -> tuple[int, dict[str, str], bytes]:
    """All that an answer tells, but for what differs between any two: time, trace, and the id asked for."""
    varying = ("date", "content-length", "traceresponse")
    headers = {name: value for name, value in answer.headers.items() if name not in varying}
    return answer.status, headers, without_trace(answer.body.decode()).replace(chat_id, "CHAT").encode()


def without_trace(text: str) -> str:
    """JSON without the id of its request's trace."""
    return re.sub(r'"trace_id":"[0-9a-f]{32}"', '"trace_id":"TRACE"', text)


@pytest.mark.parametrize("name", [*CHANGES, *READS])
async def test_strangers_are_told_nothing_by_rest(scene: Scene, name: str) -> None:
    """Anybody could find out who talks to whom by trying ids."""
    ask = {**CHANGES, **READS}[name]
    nowhere = str(uuid.uuid4())
    expected = told(await ask(scene.eve, nowhere), nowhere)
    assert expected[0] == 404
    for chat_id in (scene.direct, scene.group):
        assert told(await ask(scene.eve, chat_id), chat_id) == expected


@pytest.mark.parametrize("name", [*CHANGES])
async def test_former_members_change_nothing(scene: Scene, name: str) -> None:
    """Who was removed from a group could go on talking in it."""
    nowhere = str(uuid.uuid4())
    before = await scene.bob.history(scene.group)
    expected = told(await CHANGES[name](scene.henry, nowhere), nowhere)
    assert told(await CHANGES[name](scene.henry, scene.group), scene.group) == expected
    assert await scene.bob.history(scene.group) == before


async def test_former_members_read_up_to_their_leaving(scene: Scene) -> None:
    """Who was removed from a group could go on listening to it."""
    chat = (await scene.henry.v2("GET", f"/chats/{scene.group}")).ok()
    assert (chat["left"], chat["last_seq"], chat["last_message"]["seq"]) == (True, 3, 3)
    page = (await scene.henry.v2("GET", f"/chats/{scene.group}/messages")).ok()
    assert [m["seq"] for m in page["messages"]] == [1, 2, 3]
    assert page["last_seq"] == 3
    behind = (await scene.henry.v2("GET", f"/chats/{scene.group}/messages?after_seq=3")).ok()
    assert behind["messages"] == []
    old = (await scene.henry.legacy("GET", f"/messenger/messages?chat_id={scene.group}")).ok()
    assert (old["total"], len(old["messages"])) == (3, 3)


async def test_lists_of_chats_hold_ones_own(scene: Scene) -> None:
    """Other people's conversations would show on one's screen."""
    assert (await scene.eve.v2("GET", "/chats")).ok() == {
        "chats": [],
        "next_cursor": None,
        "has_more": False,
    }
    assert (await scene.eve.legacy("GET", "/messenger/chats")).ok()["total"] == 0


@pytest.mark.parametrize("name", [*FRAMES])
async def test_strangers_are_told_nothing_by_sockets(scene: Scene, name: str) -> None:
    """Anybody could find out who talks to whom by sending frames."""
    nowhere = str(uuid.uuid4())
    for user, chat_ids in ((scene.eve, (scene.direct, scene.group)), (scene.henry, (scene.direct,))):
        expected = await heard_after(user, name, nowhere)
        assert not re.search("one|two|three|uno|Bob|Alice", "".join(expected))
        for chat_id in chat_ids:
            assert await heard_after(user, name, chat_id) == expected
    assert len(await scene.bob.history(scene.direct)) == 3
    assert len(await scene.bob.history(scene.group)) == 4


async def heard_after(user: ApiUser, name: str, chat_id: str) -> list[str]:
    """The frames that answer one on a new socket, up to that which answers the receipt behind it."""
    heard: list[str] = []
    async with user.socket_v1() if name.startswith("v1") else user.socket_v2() as wire:
        wire.send(FRAMES[name](chat_id))
        # Typing is refused in silence. What else is asked may be answered behind the fence
        least = {"v2 typing": 0, "v2 resume": 2}.get(name, 1)
        if not name.startswith("v1"):
            wire.send({"type": "receipt", "chat_id": FENCE, "read_seq": 1})
            least += 1
        while len(heard) < least:
            heard.append(without_trace(await wire.receive()).replace(chat_id, "CHAT"))
    return sorted(heard)


async def test_outsiders_get_no_frames(scene: Scene) -> None:
    """Other people's messages, receipts and typing would reach one's device."""
    outsiders = [scene.eve, scene.henry]
    async with AsyncExitStack() as stack:
        new = [await stack.enter_async_context(user.socket_v2()) for user in outsiders]
        old = [await stack.enter_async_context(user.socket_v1()) for user in outsiders]
        bob = await stack.enter_async_context(scene.bob.socket_v2())
        alice = await stack.enter_async_context(scene.alice.socket_v2())
        for chat_id in (scene.direct, scene.group):
            await stir(scene, bob, alice, chat_id)
        for user, wire, old_wire in zip(outsiders, new, old, strict=True):
            # What comes first must be what is meant for them
            own = await scene.bob.chat_with(user)
            await scene.bob.send(own, "for you")
            frame = await wire.receive_type("message")
            assert (frame["chat_id"], frame["text"]) == (own, "for you")
            assert await old_wire.receive() == v1_frame(own, "for you")
            assert [f for f in wire.skipped if f["type"] != "presence"] == []
            # Henry and Bob share no direct chat before the last step
            assert not [f for f in wire.skipped if f.get("user_id") == scene.alice.user_id]


async def stir(scene: Scene, bob: WebSocketClient, alice: WebSocketClient, chat_id: str) -> None:
    """Everything that tells members something."""
    bob.send(v2_send(chat_id, "secret"))
    sent = await bob.receive_type("sent")
    await alice.receive_matching(lambda frame: frame.get("text") == "secret")
    async with scene.alice.socket_v2() as another:
        # A socket tells of typing once a second
        another.send({"type": "typing", "chat_id": chat_id})
        await bob.receive_type("typing")
    alice.send({"type": "receipt", "chat_id": chat_id, "read_seq": sent["seq"]})
    await bob.receive_type("receipt")
    path = f"/chats/{chat_id}/messages/{sent['seq']}"
    (await scene.bob.v2("PATCH", path, {"text": "edited"})).ok()
    await alice.receive_matching(lambda frame: frame.get("text") == "edited")
    (await scene.bob.v2("DELETE", path)).ok()
    await alice.receive_matching(lambda frame: bool(frame.get("deleted_at")))


async def test_a_removed_member_hears_no_more(scene: Scene) -> None:
    """A group could not get rid of a listener whose app stays open."""
    bob, alice = scene.bob, scene.alice
    async with alice.socket_v2() as new, alice.socket_v1() as old:
        await bob.send(scene.group, "still here")
        assert (await new.receive_type("message"))["text"] == "still here"
        assert await old.receive() == v1_frame(scene.group, "still here")
        (await bob.v2("DELETE", f"/chats/{scene.group}/members/{alice.user_id}")).ok(204)
        await bob.send(scene.group, "without Alice")
        await bob.send(scene.direct, "with Alice")
        assert (await new.receive_type("message"))["text"] == "with Alice"
        assert await old.receive() == v1_frame(scene.direct, "with Alice")
