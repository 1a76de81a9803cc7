"""Spans of messages in the gateway: real sockets, a real messenger, both in this process."""

from collections.abc import AsyncIterator

import aiohttp
import pytest_asyncio

from palaver.contracts.ids import new_id, span_id_of_message, text_from_id
from tests.harness.messenger_database import MessengerDatabase
from tests.harness.realtime import Gateway, running_gateway, serving_replica
from tests.harness.tracing import recording_spans
from tests.harness.waiting import eventually
from tests.harness.websocket_client import WebSocketClientV1, WebSocketClientV2

ALICE, BOB = new_id(), new_id()
V1, V2 = "/messenger/ws", "/v2/ws"
TRACE, CLIENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = f"00-{TRACE}-{CLIENT}-01"


class House:
    """A gateway before a messenger, and a chat of Alice and Bob."""

    def __init__(self, messenger_db: MessengerDatabase, gateway: Gateway) -> None:
        self.messenger_db = messenger_db
        self.gateway = gateway
        self.chat_id = messenger_db.direct(ALICE, BOB)
        self.chat = text_from_id(self.chat_id)

    async def open(self, user_id: bytes) -> WebSocketClientV2:
        """An attached socket of v2."""
        socket = await WebSocketClientV2.open(self.gateway, V2, user_id)
        await eventually(lambda: socket.frames("hello"), "hello")
        return socket

    async def send(self, socket: WebSocketClientV2, text: str, **more: str) -> str:
        """Sends, waits for the acknowledgement, and returns its trace id."""
        client_id = text_from_id(new_id())
        socket.send(dict(type="send", chat_id=self.chat, client_id=client_id, text=text, **more))
        await eventually(lambda: client_id in [one["client_id"] for one in socket.frames("sent")], "sent")
        return next(str(one["trace_id"]) for one in socket.frames("sent") if one["client_id"] == client_id)


@pytest_asyncio.fixture
async def house(tmp_path: object) -> AsyncIterator[House]:
    """One with default settings."""
    messenger_db = MessengerDatabase(tmp_path)  # type: ignore[arg-type]
    async with (
        serving_replica(messenger_db) as (_, port),
        running_gateway(messenger_db.keys, port) as gateway,
    ):
        yield House(messenger_db, gateway)
    messenger_db.close()


async def test_a_message_is_followed_from_the_clients_frame_to_the_recipients_socket(house: House) -> None:
    """Nobody could answer "where is this message?" (promise P8)."""
    with recording_spans() as recorded:
        alice, bob = await house.open(ALICE), await house.open(BOB)
        assert await house.send(alice, "hello", traceparent=SAMPLED) == TRACE
        await eventually(lambda: bob.frames("message"), "told")
        await eventually(lambda: len(recorded.all) >= 4, "spans")
        (message,) = house.messenger_db.history(house.chat_id)
    (received,) = recorded.named("receive message")
    (journalled,) = recorded.named("journal message")
    (delivered,) = recorded.named("deliver message")
    assert {span.trace_id for span in (received, journalled, delivered)} == {TRACE} == {message.trace_id}
    assert received.parent_id == CLIENT
    assert journalled.parent_id == received.span_id
    assert delivered.parent_id == journalled.span_id == span_id_of_message(message.id)
    assert received.start <= journalled.start <= journalled.end <= received.end
    assert received.attributes["palaver.seq"] == 1
    assert received.attributes["palaver.generation"] == "v2"
    assert delivered.events is not None
    (told,) = delivered.events
    assert (told.name, told.attributes["user.id"]) == ("told", text_from_id(BOB))
    assert delivered.start <= told.at <= delivered.end


async def test_old_clients_messages_have_traces_too(house: House) -> None:
    """Most messages of a moved monolith come from clients that know nothing of traces."""
    with recording_spans(per_second=100) as recorded:
        bob = await house.open(BOB)
        alice = await WebSocketClientV1.open(house.gateway, V1, ALICE)
        alice.send_message(house.chat_id, "a")
        await eventually(lambda: bob.frames("message"), "told")
        await eventually(lambda: recorded.named("deliver message"), "spans")
    (received,) = recorded.named("receive message")
    assert received.attributes["palaver.generation"] == "v1"
    assert received.parent_id == ""
    assert house.messenger_db.history(house.chat_id)[0].trace_id == received.trace_id


async def test_an_unsampled_message_has_an_id_and_no_span(house: House) -> None:
    """A client could not report which message was slow; or each message would cost spans."""
    with recording_spans() as recorded:
        alice = await house.open(ALICE)
        trace_id = await house.send(alice, "hello")
        assert house.messenger_db.history(house.chat_id)[0].trace_id == trace_id
    assert len(trace_id) == 32
    assert recorded.named("receive message") == []


async def test_a_slow_message_is_kept_though_it_is_not_sampled(house: House) -> None:
    """ "Why was this slow?" would be answered only for one message in a hundred."""
    with recording_spans(slow_seconds=0.0) as recorded:
        alice = await house.open(ALICE)
        trace_id = await house.send(alice, "hello")
        await eventually(lambda: recorded.named("receive message"), "span")
    (received,) = recorded.named("receive message")
    assert (received.trace_id, received.attributes["palaver.kept"]) == (trace_id, "slow")


async def test_a_resume_is_linked_to_the_messages_that_it_delivers(house: House) -> None:
    """A message that reached its reader hours later could not be followed to them."""
    with recording_spans(per_second=100) as recorded:
        alice = await house.open(ALICE)
        trace_ids = [await house.send(alice, text) for text in ("a", "b")]
        bob = await house.open(BOB)
        bob.send({"type": "resume", "cursors": {house.chat: 0}, "traceparent": SAMPLED})
        await eventually(lambda: recorded.named("resume"), "span")
        ids = [span_id_of_message(message.id) for message in house.messenger_db.history(house.chat_id)]
    (resumed,) = recorded.named("resume")
    assert (resumed.trace_id, resumed.parent_id) == (TRACE, CLIENT)
    assert resumed.links == list(zip(trace_ids, ids, strict=True))
    assert resumed.events is not None
    assert [told.attributes["palaver.seq"] for told in resumed.events] == [1, 2]


async def test_a_refused_upgrade_names_its_trace(house: House) -> None:
    """A client that can't connect could not be told why."""
    with recording_spans() as recorded:
        headers = {"traceparent": SAMPLED, "connection": "upgrade", "upgrade": "websocket"}
        async with (
            aiohttp.ClientSession() as session,
            session.get(house.gateway.url(V2, "bad").replace("ws:", "http:"), headers=headers) as answer,
        ):
            assert answer.status == 401
            assert answer.headers["traceresponse"].split("-")[1] == TRACE
    (span,) = recorded.named("GET /v2/ws")
    assert span.attributes["http.response.status_code"] == 401
    assert (span.trace_id, span.parent_id, span.error) == (TRACE, CLIENT, "")


async def test_without_traces_there_is_nothing(house: House) -> None:
    """Whoever switches traces off would still pay for them."""
    alice = await house.open(ALICE)
    client_id = text_from_id(new_id())
    alice.send({"type": "send", "chat_id": house.chat, "client_id": client_id, "text": "a"})
    await eventually(lambda: alice.frames("sent"), "sent")
    assert "trace_id" not in alice.frames("sent")[0]
    assert house.messenger_db.history(house.chat_id)[0].trace_id == ""
