"""What the messenger checks of a gateway's sends by itself."""

import pytest

from palaver.contracts.ids import new_id
from tests.harness.gateway_stream import gateway_stream
from tests.harness.messenger_database import MessengerDatabase
from tests.harness.realtime import running_replica
from tests.harness.waiting import eventually

ALICE, BOB = (bytes([letter]) * 16 for letter in b"AB")

FLAG = "\N{REGIONAL INDICATOR SYMBOL LETTER A}"


@pytest.mark.parametrize(
    ("texts", "code", "field"),
    [
        ([""], "invalid", "text"),
        (["a\0b"], "invalid", "text"),
        (["x" * 11], "invalid", "text"),
        (["e" + "\N{COMBINING ACUTE ACCENT}" * 50], "invalid", "text"),
        (["ok", "x" * 11], "invalid", "text"),
        (["ok"] * 4, "invalid", "messages"),
        ([], "invalid", "messages"),
    ],
)
async def test_a_gateway_cannot_store_what_no_client_may_send(
    messenger_db: MessengerDatabase, texts: list[str], code: str, field: str
) -> None:
    """A gateway with other settings, or who stands behind it, would fill chats with what breaks clients."""
    chat_id = messenger_db.group([ALICE, BOB])
    async with (
        running_replica(messenger_db, text_characters=10, text_bytes=64, messages_per_request=3) as replica,
        gateway_stream(replica, messenger_db.keys) as gateway,
    ):
        alice = await gateway.open(ALICE)
        gateway.send(alice, chat_id, *texts, request=7, client_ids=[new_id() for _ in texts] or None)
        await eventually(lambda: gateway.all("sent"), "an answer")
        (reply,) = gateway.all("sent")
        assert (reply.request, reply.error.code, reply.error.field) == (7, code, field)
        # Within the bounds, in characters and in bytes
        gateway.send(alice, chat_id, FLAG * 16, "x" * 10, request=8)
        await eventually(lambda: gateway.all("deliveries"), "the acknowledgement")
        assert [one.request for one in gateway.all("deliveries")] == [8]
        assert len(messenger_db.history(chat_id)) == 2


@pytest.mark.parametrize("client_ids", [[b"short"], [], [new_id(), new_id()]])
async def test_a_send_of_another_shape_is_refused(
    messenger_db: MessengerDatabase, client_ids: list[bytes]
) -> None:
    """A faulty gateway would end the stream of all its sockets."""
    chat_id = messenger_db.group([ALICE, BOB])
    async with (
        running_replica(messenger_db) as replica,
        gateway_stream(replica, messenger_db.keys) as gateway,
    ):
        alice = await gateway.open(ALICE)
        send = {"socket": alice, "request": 7, "chat_id": chat_id, "client_ids": client_ids, "texts": ["hi"]}
        gateway.write(sends=[send])
        await eventually(lambda: gateway.all("sent"), "an answer")
        assert [one.error.code for one in gateway.all("sent")] == ["malformed"]
