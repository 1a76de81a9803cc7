"""What moved while a gateway had no stream reaches its sockets afterwards: all that is not a message."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from palaver.contracts.ids import new_id, text_from_id
from palaver.gateway.upstream import stream as stream_module
from palaver.messenger.realtime import presence_updates
from palaver.messenger.store.commit_log import trim_log
from palaver.messenger.use_cases import add_members, delete_message, edit_message, remove_member
from tests.harness.memory_channel import MemoryChannel
from tests.harness.memory_transport import MemoryTransport
from tests.harness.messenger_database import MessengerDatabase
from tests.harness.realtime import GatewaySockets, Replica, replica_of
from tests.harness.waiting import eventually

ALICE, BOB, CAROL = new_id(), new_id(), new_id()


class House:
    """One replica and two gateways: Alice is at the near one, Bob at the far one, whose stream breaks."""

    def __init__(self, messenger_db: MessengerDatabase, replica: Replica) -> None:
        self.messenger_db = messenger_db
        self.replica = replica
        self.near_channel = MemoryChannel(replica.attach)
        self.far_channel = MemoryChannel(replica.attach)
        self.near = GatewaySockets(self.near_channel, messenger_db.keys, drain_seconds=0)
        self.far = GatewaySockets(self.far_channel, messenger_db.keys, drain_seconds=0)
        self.chat_id = messenger_db.direct(ALICE, BOB)

    async def start(self) -> None:
        """Opens Alice's and Bob's sockets, and sends three messages."""
        await self.near.server.start()
        await self.far.server.start()
        self.alice = await self.open(self.near, ALICE)
        self.bob = await self.open(self.far, BOB)
        await eventually(lambda: frames(self.bob, "presence"), "presence")
        for number in range(1, 4):
            self.alice.send_frame(
                type="send",
                chat_id=text_from_id(self.chat_id),
                client_id=text_from_id(new_id()),
                text=f"text {number}",
            )
        await eventually(lambda: len(frames(self.bob, "message")) == 3, "messages")

    async def stop(self) -> None:
        """Closes everything."""
        for gateway, channel in ((self.near, self.near_channel), (self.far, self.far_channel)):
            await gateway.stop()
            channel.break_stream(None)

    async def open(self, gateway: GatewaySockets, user_id: bytes) -> MemoryTransport:
        """A socket of v2 that has its hello."""
        client = await MemoryTransport().open(gateway.server, "/v2/ws", self.messenger_db.keys.token(user_id))
        await eventually(lambda: frames(client, "hello"), "hello")
        return client

    async def lose_far(self) -> None:
        """Bob's gateway loses its stream, and finds nobody."""
        self.far_channel.break_stream(None)
        await asyncio.sleep(0.02)
        self.bob.frames.clear()

    async def bring_back(self, condition: Callable[[], object], what: str) -> None:
        """Bob's gateway finds the messenger again."""
        assert self.bob.frames == []
        self.far_channel.attach = self.replica.attach
        await eventually(condition, what)
        # What comes twice comes soon
        await asyncio.sleep(0.1)


def frames(client: MemoryTransport, kind: str) -> list[dict[str, Any]]:
    """A client's frames of one type."""
    return [frame for frame in client.frames if frame["type"] == kind]


@pytest_asyncio.fixture
async def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    """A house whose gateways come back without a pause."""
    monkeypatch.setattr(stream_module, "FIRST_PAUSE_SECONDS", 0.005)
    monkeypatch.setattr(stream_module, "LONGEST_PAUSE_SECONDS", 0.005)
    monkeypatch.setattr(presence_updates, "GONE_SECONDS", 0.05)
    messenger_db = MessengerDatabase(tmp_path)
    store = messenger_db.open_store()
    replica = replica_of(messenger_db, store)
    await replica.start()
    house = House(messenger_db, replica)
    await house.start()
    yield house
    await house.stop()
    await replica.stop()
    await store.close()
    messenger_db.close()


async def test_receipts_that_moved_meanwhile_are_delivered(house: House) -> None:
    """Senders would not see that their messages were read until they open the chat again."""
    await house.lose_far()
    await house.replica.engine.set_receipt(house.chat_id, ALICE, 3, 2)
    await house.replica.engine.set_receipt(house.chat_id, BOB, 3, 3)
    await house.bring_back(lambda: len(frames(house.bob, "receipt")) >= 1, "receipts")
    told = {(one["user_id"], one["received_seq"], one["read_seq"]) for one in frames(house.bob, "receipt")}
    assert (text_from_id(BOB), 3, 3) in told


async def test_edits_and_deletions_that_came_meanwhile_are_delivered(house: House) -> None:
    """Screens would show what was corrected or taken back."""
    await house.lose_far()
    await house.replica.engine.commit(edit_message, house.chat_id, ALICE, 1, "better")
    await house.replica.engine.commit(delete_message, house.chat_id, ALICE, 2)
    await house.bring_back(lambda: len(frames(house.bob, "message")) == 2, "changes")
    edited, deleted = sorted(frames(house.bob, "message"), key=lambda frame: frame["seq"])
    assert (edited["seq"], edited["text"], deleted["seq"], deleted["text"]) == (1, "better", 2, "")
    assert edited["edited_at"]
    assert deleted["deleted_at"]


async def test_who_went_meanwhile_is_shown_as_gone(house: House) -> None:
    """Somebody who left hours ago would be shown as present, for good."""
    await house.lose_far()
    house.alice.close()
    await eventually(lambda: not house.replica.engine.hub.online, "nobody is there")
    await asyncio.sleep(0.2)
    await house.bring_back(lambda: frames(house.bob, "presence"), "presence")
    (gone,) = frames(house.bob, "presence")
    assert (gone["user_id"], gone["online"]) == (text_from_id(ALICE), False)
    assert gone["last_seen_at"]


async def test_who_came_meanwhile_is_shown_as_present(house: House) -> None:
    """A friend who came back would be shown as away."""
    house.alice.close()
    await eventually(lambda: not frames(house.bob, "presence")[-1]["online"], "Alice gone")
    await house.lose_far()
    await house.open(house.near, ALICE)
    await house.bring_back(lambda: frames(house.bob, "presence"), "presence")
    # Maybe twice: live, and from the log. It says what is, so that does no harm
    assert {frame["online"] for frame in frames(house.bob, "presence")} == {True}


async def test_who_was_removed_meanwhile_receives_nothing_more(house: House) -> None:
    """Somebody who was thrown out while their gateway was away would go on reading (promise P5)."""
    group = house.messenger_db.group([ALICE, BOB])
    await house.lose_far()
    await house.replica.engine.commit(remove_member, group, ALICE, BOB)
    await house.replica.engine.send(group, ALICE, [new_id()], ["not for Bob"], retry=False)
    await house.replica.engine.send(house.chat_id, ALICE, [new_id()], ["for Bob"], retry=False)
    await house.bring_back(lambda: frames(house.bob, "message"), "the message")
    assert [frame["text"] for frame in frames(house.bob, "message")] == ["for Bob"]


async def test_who_was_added_meanwhile_receives_what_follows(house: House) -> None:
    """A new member of a group would receive nothing until their client connects again."""
    group = house.messenger_db.group([ALICE, CAROL])
    await house.lose_far()
    await house.replica.engine.commit(add_members, group, ALICE, [BOB], 10)
    await house.replica.engine.send(group, ALICE, [new_id()], ["welcome"], retry=False)
    await house.bring_back(lambda: frames(house.bob, "message"), "the message")
    assert [frame["text"] for frame in frames(house.bob, "message")] == ["welcome"]


async def test_a_socket_that_opened_meanwhile_gets_no_old_news(house: House) -> None:
    """A client that has just loaded its chats would get messages twice."""
    await house.lose_far()
    await house.replica.engine.send(house.chat_id, ALICE, [new_id()], ["while away"], retry=False)
    client = await MemoryTransport().open(house.far.server, "/v2/ws", house.messenger_db.keys.token(BOB))
    await house.bring_back(lambda: frames(client, "hello"), "hello")
    assert frames(client, "message") == []
    assert [frame["text"] for frame in frames(house.bob, "message")] == ["while away"]


async def test_a_gateway_behind_the_log_sends_its_clients_to_resume(house: House) -> None:
    """Clients of a gateway that was away for hours would miss what happened, and not know it."""
    await house.lose_far()
    await house.replica.engine.send(house.chat_id, ALICE, [new_id()], ["trimmed"], retry=False)
    await house.replica.engine.send(house.chat_id, ALICE, [new_id()], ["newest"], retry=False)
    house.messenger_db.write(trim_log, house.replica.engine.followed.vector, 1_000)
    house.far_channel.attach = house.replica.attach
    await eventually(lambda: house.bob.closed is not None, "closed")
    assert house.bob.closed == 1012
    again = await house.open(house.far, BOB)
    again.send_frame(type="resume", cursors={text_from_id(house.chat_id): 3})
    await eventually(lambda: frames(again, "resumed"), "resumed")
    assert [frame["text"] for frame in frames(again, "message")] == ["trimmed", "newest"]
