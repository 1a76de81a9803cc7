"""Open sockets: real clients, a real messenger, and what happens between them."""

import asyncio
import json
import struct
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from palaver.contracts.errors import RATE_LIMITED
from palaver.contracts.ids import id_from_text, new_id, text_from_id
from palaver.gateway.sockets.registry import CLOSE_SECONDS
from palaver.gateway.sockets.server import MOST_ANSWERS
from tests.harness.messenger_database import MessengerDatabase
from tests.harness.raw_socket import CLOSE, PING, PONG, TEXT, RawSocket, client_frame
from tests.harness.realtime import HOST, Gateway, Replica, running_gateway, serving_replica
from tests.harness.waiting import eventually
from tests.harness.websocket_client import WebSocketClient, WebSocketClientV1, WebSocketClientV2

ALICE, BOB = new_id(), new_id()
V1, V2 = "/messenger/ws", "/v2/ws"


class House:
    """A gateway before a messenger, and a chat of Alice and Bob."""

    def __init__(self, place: MessengerDatabase, replica: Replica, gateway: Gateway) -> None:
        self.place = place
        self.replica = replica
        self.gateway = gateway
        self.chat_id = place.direct(ALICE, BOB)

    async def v2(self, user_id: bytes) -> WebSocketClientV2:
        """An attached socket of v2."""
        socket = await WebSocketClientV2.open(self.gateway, V2, user_id)
        await eventually(lambda: socket.frames("hello"), "hello")
        return socket

    async def v1(self, user_id: bytes) -> WebSocketClientV1:
        """An attached socket of v1."""
        before = len(self.replica.engine.hub.online.get(user_id, ()))
        socket = await WebSocketClientV1.open(self.gateway, V1, user_id)
        await eventually(lambda: len(self.replica.engine.hub.online.get(user_id, ())) > before, "attached")
        return socket


@pytest_asyncio.fixture
async def house(tmp_path: Any) -> AsyncIterator[House]:
    """One with default settings, but for 3 sockets a user."""
    place = MessengerDatabase(tmp_path)
    async with (
        serving_replica(place) as (replica, port),
        running_gateway(place.keys, port, sockets_per_user=3) as gateway,
    ):
        yield House(place, replica, gateway)
    place.close()


async def refusal(gateway: Gateway, path: str, token: str = "", **headers: str) -> tuple[int, str, Any]:
    """Status, content type and body of an upgrade that is refused."""
    async with aiohttp.ClientSession() as session:
        url = gateway.url(path, token).replace("ws:", "http:")
        upgrade = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        }
        async with session.get(url, headers={**upgrade, **headers}) as answer:
            return answer.status, answer.content_type, await answer.json(content_type=None)


# ---- upgrades ----


async def test_tokens_are_taken_from_header_or_query_with_or_without_bearer(house: House) -> None:
    """Clients of one generation or another could not connect."""
    token = house.gateway.keys.token(ALICE)
    async with aiohttp.ClientSession() as session:
        for url, headers in [
            (house.gateway.url(V1, token), {}),
            (house.gateway.url(V1), {"Authorization": token}),
            (house.gateway.url(V2), {"Authorization": f"Bearer {token}"}),
            (house.gateway.url(V2), {"Authorization": f"bearer {token}"}),
        ]:
            async with session.ws_connect(url, headers=headers) as ws:
                assert not ws.closed
            await eventually(lambda: house.gateway.sockets.count() == 0, "closed")


async def test_a_bad_token_is_refused_before_the_upgrade(house: House) -> None:
    """Strangers would read along; or old clients would get an answer that they can't parse."""
    expired = house.gateway.keys.token(ALICE, seconds=-100)
    for token in ("", "nonsense", expired):
        status, kind, body = await refusal(house.gateway, V1, token)
        assert (status, kind, list(body), body["code"]) == (401, "application/json", ["code", "message"], 0)
        status, kind, body = await refusal(house.gateway, V2, Authorization=f"Bearer {token}")
        assert (status, kind, body["code"]) == (401, "application/problem+json", "unauthenticated")
    assert house.gateway.sockets.count() == 0


async def test_another_path_has_no_socket(house: House) -> None:
    """A client with a wrong address would look for the fault in its token."""
    status, _, body = await refusal(house.gateway, "/v3/ws", house.gateway.keys.token(ALICE))
    assert (status, body["code"]) == (404, "not_found")


async def test_a_user_has_so_many_sockets_and_no_more(house: House) -> None:
    """One user could open sockets until the gateway has no memory left (promise P9)."""
    sockets = await asyncio.gather(
        *(WebSocketClientV2.open(house.gateway, V2, ALICE) for _ in range(6)), return_exceptions=True
    )
    opened = [socket for socket in sockets if isinstance(socket, WebSocketClient)]
    assert len(opened) == 3
    status, _, body = await refusal(house.gateway, V2, house.gateway.keys.token(ALICE))
    assert (status, body["code"]) == (429, "rate_limited")
    await WebSocketClientV2.open(house.gateway, V2, BOB)
    opened[0].disconnect()
    await eventually(lambda: house.gateway.sockets.count() == 3, "one has closed")
    await WebSocketClientV2.open(house.gateway, V2, ALICE)


# ---- talk ----


async def test_both_generations_receive_each_other(house: House) -> None:
    """Who updated their client would lose those who did not (promise P6)."""
    old, new, sender = await house.v1(BOB), await house.v2(BOB), await house.v2(ALICE)
    sender.send_message(house.chat_id, "from v2")
    await eventually(lambda: old.texts and new.seqs and sender.acks, "told")
    old.send_message(house.chat_id, "from v1", "and more")
    await eventually(lambda: len(sender.seqs) == 2 and len(new.seqs) == 3, "told")
    assert old.texts == ["from v2"]
    assert [frame["text"] for frame in sender.frames("message")] == ["from v1", "and more"]
    assert [message.text for message in house.place.history(house.chat_id)] == [
        "from v2",
        "from v1",
        "and more",
    ]


async def test_hello_names_the_user(house: House) -> None:
    """A client could not tell its own messages from others'."""
    socket = await house.v2(ALICE)
    (hello,) = socket.frames("hello")
    assert id_from_text(hello["user_id"], "") == ALICE
    assert json.loads(socket.received[0]) == hello


async def test_a_strangers_send_is_refused_by_name(house: House) -> None:
    """Strangers could write, or learn which chats exist (promise P5)."""
    stranger = await house.v2(new_id())
    errors = []
    for chat_id in (house.chat_id, new_id()):
        client_id = stranger.send_message(chat_id, "let me in")
        await eventually(lambda: len(stranger.frames("error")) > len(errors), "refused")
        error = stranger.frames("error")[-1]
        assert error.pop("client_id") == text_from_id(client_id)
        assert error.pop("chat_id") == text_from_id(chat_id)
        errors.append(error)
    assert errors[0] == errors[1]
    assert errors[0]["code"] == "not_found"
    assert house.place.history(house.chat_id) == []


async def test_a_frame_that_is_not_understood_leaves_the_socket_open(house: House) -> None:
    """One fault of a client would cut its user off."""
    old, new = await house.v1(ALICE), await house.v2(ALICE)
    old.send({"topic": "other"})
    new.send({"type": "other"})
    await eventually(lambda: old.errors and new.frames("error"), "refused")
    new.send({"type": "ping", "id": "7"})
    old.send_message(house.chat_id, "still here")
    await eventually(lambda: new.frames("pong") and new.seqs, "told")
    assert new.frames("pong") == [{"type": "pong", "id": "7"}]


@pytest.mark.parametrize("text", [b"{}", b'{"type":"ping"}'])
async def test_a_socket_that_wants_very_many_answers_at_once_is_closed(house: House, text: bytes) -> None:
    """One user's flood of small frames would keep everybody's messages waiting for seconds."""
    socket = await RawSocket.open(HOST, house.gateway.port, V2, house.gateway.keys.token(ALICE))
    # In turns of its own
    for _ in range(2):
        socket.write(*[client_frame(TEXT, text)] * MOST_ANSWERS)
        answers = 0
        while answers < MOST_ANSWERS:
            frame = await socket.read()
            assert frame is not None
            assert frame.opcode == TEXT
            answers += b'"hello"' not in frame.payload
    socket.write(*[client_frame(TEXT, text)] * (2 * MOST_ANSWERS))
    while (frame := await socket.read()) is not None and frame.opcode != CLOSE:
        pass
    assert frame is not None
    assert frame.close_code == RATE_LIMITED.close
    await socket.close()


async def test_receipts_and_typing_reach_the_other_side(house: House) -> None:
    """Nobody would see what was read, or that somebody is typing."""
    alice, bob = await house.v2(ALICE), await house.v2(BOB)
    alice.send_message(house.chat_id, "read me")
    await eventually(lambda: bob.seqs, "told")
    chat = text_from_id(house.chat_id)
    bob.send({"type": "receipt", "chat_id": chat, "read_seq": 1})
    for _ in range(5):
        bob.send({"type": "typing", "chat_id": chat})
    await eventually(lambda: alice.frames("receipt") and alice.frames("typing"), "told")
    (receipt,) = alice.frames("receipt")
    assert (receipt["received_seq"], receipt["read_seq"]) == (1, 1)
    # Once a second at most, however fast somebody types
    bob.send({"type": "ping"})
    await eventually(lambda: bob.frames("pong"), "pong")
    assert len(alice.frames("typing")) == 1
    assert bob.frames("typing") == []


async def test_companions_see_who_comes_and_goes(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody would see who is there."""
    monkeypatch.setattr("palaver.messenger.realtime.presence_updates.GONE_SECONDS", 0.05)
    alice = await house.v2(ALICE)
    bob = await house.v2(BOB)
    await eventually(lambda: alice.frames("presence") and bob.frames("presence"), "told")
    bob.disconnect()
    await eventually(lambda: not alice.frames("presence")[-1]["online"], "told")
    # Being there may be said twice: to who comes, and of who comes
    *there, gone = alice.frames("presence")
    assert all(frame["online"] for frame in there)
    assert {frame["user_id"] for frame in (*there, gone)} == {text_from_id(BOB)}
    assert gone["last_seen_at"]


async def test_typing_in_one_chat_does_not_hide_typing_in_another(house: House) -> None:
    """Who answers two people at once would be seen typing by one of them only."""
    alice = await house.v2(ALICE)
    group = house.place.group([ALICE, BOB])
    bob = await house.v2(BOB)
    chats = [text_from_id(house.chat_id), text_from_id(group)]
    for chat in (*chats, *chats):
        bob.send({"type": "typing", "chat_id": chat})
    bob.send({"type": "ping"})
    await eventually(lambda: bob.frames("pong") and len(alice.frames("typing")) >= 2, "told")
    assert [frame["chat_id"] for frame in alice.frames("typing")] == chats


# ---- resume ----


async def test_a_resume_that_does_not_wait_for_hello_is_done(house: House) -> None:
    """A client in a hurry would get an error, or its messages twice."""
    alice = await house.v2(ALICE)
    for number in range(5):
        alice.send_message(house.chat_id, f"{number}")
    await eventually(lambda: len(alice.acks) == 5, "stored")
    bob = await WebSocketClientV2.open(house.gateway, V2, BOB)
    bob.resume({house.chat_id: 2})
    await eventually(lambda: bob.frames("resumed"), "resumed")
    assert bob.seqs == [3, 4, 5]
    assert not bob.frames("error")


async def test_a_second_resume_waits_for_the_first(house: House) -> None:
    """Pages of two resumes would be mixed."""
    bob = await house.v2(BOB)
    bob.resume({house.chat_id: 0})
    bob.resume({house.chat_id: 0})
    await eventually(lambda: bob.frames("resumed") and bob.frames("error"), "answered")
    assert bob.frames("error")[0]["field"] == "cursors"
    bob.resume({house.chat_id: 0})
    await eventually(lambda: len(bob.frames("resumed")) == 2, "resumed")


async def test_a_resume_under_way_goes_on_after_a_broken_stream(tmp_path: Any) -> None:
    """Who comes back while the messenger restarts would wait for ever, or get everything twice."""
    place = MessengerDatabase(tmp_path)
    chat_id = place.direct(ALICE, BOB)
    async with serving_replica(place) as (replica, port):
        texts = [f"{number}" * 500 for number in range(900)]
        for start in range(0, 900, 100):
            part = texts[start : start + 100]
            await replica.engine.send(chat_id, ALICE, [new_id() for _ in part], part, retry=False)
    async with running_gateway(place.keys, port) as gateway:
        bob = await WebSocketClientV2.open(gateway, V2, BOB)
        bob.resume({chat_id: 100})
        for _ in range(3):
            async with serving_replica(place, port) as (replica, _):
                await eventually(lambda: bob.frames("hello"), "hello")
                if not bob.seqs:
                    await eventually(lambda: bob.seqs, "the first page")
                    continue
                await eventually(lambda: gateway.stream.is_attached, "attached")
        async with serving_replica(place, port):
            await eventually(lambda: bob.frames("resumed"), "resumed")
            assert bob.seqs == list(range(101, 901))
            assert len(bob.frames("resumed")) == 1
            assert not bob.frames("error")
    place.close()


async def test_a_goodbye_while_the_messenger_is_away_is_stored(tmp_path: Any) -> None:
    """Who sends a message and locks their phone would lose it, whenever the messenger restarts."""
    place = MessengerDatabase(tmp_path)
    chat_id = place.direct(ALICE, BOB)
    async with serving_replica(place) as (_, port):
        pass
    async with running_gateway(place.keys, port) as gateway:
        old = await WebSocketClientV1.open(gateway, V1, ALICE)
        old.send_message(chat_id, "goodbye")
        await eventually(lambda: len(gateway.sends) == 1, "taken")
        old.disconnect()
        await eventually(lambda: gateway.sockets.count() == 0, "closed")
        async with serving_replica(place, port):
            await eventually(lambda: len(gateway.sends) == 0, "answered")
    assert [message.text for message in place.history(chat_id)] == ["goodbye"]
    place.close()


# ---- ends ----


async def test_a_session_that_ends_during_the_handshake_keeps_no_socket(house: House) -> None:
    """A stolen phone that connects in the moment of its sign-out would go on reading."""
    session = new_id()
    token = house.gateway.keys.token(ALICE, session)
    asked: list[bytes] = []

    def ends_meanwhile(session_id: bytes) -> bool:
        asked.append(session_id)
        return len(asked) > 1

    house.gateway.ended.is_ended = ends_meanwhile  # type: ignore[method-assign] # of this one gateway
    stolen = await RawSocket.open(HOST, house.gateway.port, V2, token)
    while (frame := await stolen.read()) is not None and frame.opcode != CLOSE:
        pass
    assert frame is not None
    assert frame.close_code == 4001
    await stolen.close()
    assert house.gateway.sockets.count() == 0
    assert asked == [session, session]


async def test_a_revoked_session_loses_its_sockets(house: House) -> None:
    """A stolen phone would go on reading after it was signed out."""
    session = new_id()
    token = house.gateway.keys.token(ALICE, session)
    stolen = await RawSocket.open(HOST, house.gateway.port, V2, token)
    other = await house.v2(ALICE)
    house.gateway.ended.sessions.add(session)
    house.gateway.registry.close_session(session)
    while (frame := await stolen.read()) is not None and frame.opcode != CLOSE:
        pass
    assert frame is not None
    assert frame.close_code == 4001
    await stolen.close()
    status, _, body = await refusal(house.gateway, V2, token)
    assert (status, body["code"]) == (401, "session_revoked")
    assert other.closed is None


async def test_a_socket_whose_token_the_messenger_refuses_is_closed(tmp_path: Any) -> None:
    """Its user would look at a screen on which nothing ever happens."""
    place, stranger = MessengerDatabase(tmp_path / "one"), MessengerDatabase(tmp_path / "two")
    async with (
        serving_replica(stranger) as (_, port),
        running_gateway(place.keys, port) as gateway,
    ):
        socket = await WebSocketClientV2.open(gateway, V2, ALICE)
        await eventually(lambda: socket.closed is not None, "closed")
        assert socket.closed == 4001
        assert gateway.sockets.count() == 0
    for one in (place, stranger):
        one.close()


async def test_a_silent_peer_is_pinged_then_closed(tmp_path: Any) -> None:
    """Dead connections would pile up, and their users seem online."""
    place = MessengerDatabase(tmp_path)
    async with (
        serving_replica(place) as (_, port),
        running_gateway(place.keys, port, ping_seconds=0.1) as gateway,
    ):
        dead = await RawSocket.open(HOST, gateway.port, V2, place.keys.token(ALICE))
        alive = await RawSocket.open(HOST, gateway.port, V2, place.keys.token(BOB))

        async def answer() -> None:
            while (frame := await alive.read()) is not None:
                assert frame.opcode != CLOSE
                if frame.opcode == PING:
                    alive.write(client_frame(PONG, frame.payload))

        answering = asyncio.create_task(answer())
        seen = []
        async with asyncio.timeout(5):
            while (frame := await dead.read()) is not None:
                seen.append(frame)
                if frame.opcode == CLOSE:
                    break
        assert [frame.opcode for frame in seen] == [TEXT, PING, CLOSE]
        assert seen[-1].close_code == 4009
        assert not answering.done()
        assert gateway.sockets.count() == 1
        await dead.close()
        await alive.close()
        await asyncio.wait([answering])
    place.close()


async def test_a_peer_that_does_not_answer_a_close_is_dropped(house: House) -> None:
    """A client that hangs would keep its connection for ever."""
    session = new_id()
    hanging = await RawSocket.open(HOST, house.gateway.port, V2, house.gateway.keys.token(ALICE, session))
    house.gateway.registry.close_session(session)
    async with asyncio.timeout(2 * CLOSE_SECONDS):
        while await hanging.read() is not None:
            pass
    await hanging.close()


async def test_a_stop_answers_what_was_sent_and_closes_with_1012(tmp_path: Any) -> None:
    """Each update of the gateway would lose messages, and clients would not know to come back at once."""
    place = MessengerDatabase(tmp_path)
    chat_id = place.direct(ALICE, BOB)
    async with (
        serving_replica(place) as (_, port),
        running_gateway(place.keys, port, drain_seconds=5.0) as gateway,
    ):
        sender, reader = [await WebSocketClientV2.open(gateway, V2, user) for user in (ALICE, BOB)]
        await eventually(lambda: sender.frames("hello") and reader.frames("hello"), "hello")
        for number in range(50):
            sender.send_message(chat_id, f"{number}")
        await eventually(lambda: gateway.sends or sender.acks, "some are taken")
        await gateway.sockets.stop()
        await eventually(lambda: sender.closed is not None and reader.closed is not None, "closed")
        assert (sender.closed, reader.closed) == (1012, 1012)
        stored = {message.client_id: [message.seq] for message in place.history(chat_id)}
        assert sender.acks == stored
        assert reader.seqs == list(range(1, len(stored) + 1))
        status, _, body = await refusal(gateway, V2, place.keys.token(ALICE))
        assert (status, body["code"]) == (503, "restarting")
    place.close()


async def test_a_client_that_closes_is_answered_and_forgotten(house: House) -> None:
    """Sockets that are gone would be counted, told and listed as online."""
    socket = await RawSocket.open(HOST, house.gateway.port, V2, house.gateway.keys.token(ALICE))
    assert (await socket.read()) is not None
    socket.write(client_frame(CLOSE, struct.pack("!H", 1000)))
    close = await socket.read()
    assert close is not None
    assert close.close_code == 1000
    await socket.close()
    await eventually(lambda: house.gateway.sockets.count() == 0, "forgotten")
    await eventually(lambda: not house.replica.engine.hub.online, "gone from the messenger")
