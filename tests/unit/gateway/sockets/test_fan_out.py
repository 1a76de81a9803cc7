"""What a gateway that was away hands to which socket, against a messenger that sends what a test wants."""

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from palaver.contracts.ids import new_id
from palaver.contracts.messenger_pb2 import GatewayBatch, MessengerBatch, SocketOpen
from palaver.runtime.grpc.message_stream import MessageStream
from tests.harness.keys import Keys
from tests.harness.memory_channel import MemoryChannel
from tests.harness.memory_transport import MemoryTransport
from tests.harness.realtime import GatewaySockets
from tests.harness.waiting import eventually

CHAT, ALICE, BOB = new_id(), new_id(), new_id()


class Messenger:
    """The end of every stream: opens each socket after `position`, and sends what it is given."""

    def __init__(self) -> None:
        self.position = {1: 10}
        self.streams: list[MessageStream] = []
        self.opened: list[SocketOpen] = []

    async def attach(self, stream: MessageStream) -> None:
        """Serves a stream."""
        self.streams.append(stream)
        stream.receive_with(self)
        await stream.ended()

    def receive(self, batch: GatewayBatch) -> None:
        """See `StreamReceiver`."""
        for opening in batch.opens:
            opened_after = [{"writer": w, "number": n} for w, n in self.position.items()]
            opened = {"socket": opening.socket, "opened_at": 5, "opened_after": opened_after}
            self.streams[-1].write(MessengerBatch(opened=[opened]))
            self.opened.append(opening)

    def resume_writing(self) -> None:
        """See `StreamReceiver`: memory takes everything."""

    async def send(self, **fields: Any) -> None:
        """Sends a batch on the newest stream."""
        self.streams[-1].write(MessengerBatch(**fields))


class House:
    """A gateway's sockets before that messenger."""

    def __init__(self) -> None:
        self.messenger = Messenger()
        self.channel = MemoryChannel(self.messenger.attach)
        self.keys = Keys()
        self.parts = GatewaySockets(self.channel, self.keys, drain_seconds=0)
        self.server, self.stream = self.parts.server, self.parts.stream

    async def open(self) -> MemoryTransport:
        """A socket of v2 that the messenger has opened."""
        client = await MemoryTransport().open(self.server, "/v2/ws", self.keys.token(ALICE))
        await eventually(lambda: client.frames, "hello")
        return client

    async def break_stream(self) -> None:
        """Returns once the gateway has opened its sockets again."""
        count = len(self.messenger.opened) + self.server.count()
        self.channel.break_stream(self.messenger.attach)
        await eventually(lambda: len(self.messenger.opened) == count, "opened again")


@pytest_asyncio.fixture
async def house() -> AsyncIterator[House]:
    """One that is attached."""
    house = House()
    await house.server.start()
    await eventually(lambda: house.stream.is_attached, "attached")
    yield house
    await house.parts.stop()


def delivery(seq: int, *clients: MemoryTransport, **more: Any) -> dict[str, Any]:
    """A message of Bob's to these."""
    return {
        "chat_id": CHAT,
        "sender_id": BOB,
        "first_seq": seq,
        "ids": [new_id()],
        "client_ids": [new_id()],
        "texts": ["text"],
        "created_at": 1,
        "sockets": [client.number for client in clients],
        **more,
    }


def commit(number: int, writer: int = 1) -> dict[str, int]:
    """A place in the commit log."""
    return {"writer": writer, "number": number}


def seqs(client: MemoryTransport) -> list[int]:
    """The messages that a client got."""
    return [frame["seq"] for frame in client.frames if frame["type"] == "message"]


# ---- what was missed ----


async def test_what_was_committed_before_a_socket_opened_is_no_news_to_it(house: House) -> None:
    """Who opens the app just after a break would see messages pop up that they have read in the history."""
    old = await house.open()
    await house.break_stream()
    house.messenger.position = {1: 12, 2: 1}
    new = await house.open()
    deliveries = [
        delivery(1, old, new, commit=commit(11)),
        delivery(2, old, new, commit=commit(12)),
        delivery(3, old, new, commit=commit(13)),
        delivery(4, old, new, commit=commit(1, writer=2)),
        delivery(5, old, new, commit=commit(1, writer=3)),
        delivery(6, old, new),
    ]
    await house.messenger.send(deliveries=deliveries)
    await eventually(lambda: len(seqs(old)) == 6, "delivered")
    assert seqs(old) == [1, 2, 3, 4, 5, 6]
    assert seqs(new) == [3, 5, 6]


async def test_a_socket_keeps_the_place_of_its_first_opening(house: House) -> None:
    """What was written while the stream was broken would be lost to everybody who was there."""
    socket = await house.open()
    house.messenger.position = {1: 100}
    await house.break_stream()
    await house.messenger.send(deliveries=[delivery(1, socket, commit=commit(50))])
    await eventually(lambda: seqs(socket) == [1], "delivered")


async def test_sockets_that_open_between_two_commits_share_their_place(house: House) -> None:
    """A hundred thousand idle sockets would hold as many copies of one vector."""
    first, second = await house.open(), await house.open()
    house.messenger.position = {1: 11}
    third = await house.open()
    places = [house.parts.registry.open[one.number].opened_after for one in (first, second, third)]
    assert places == [{1: 10}, {1: 10}, {1: 11}]
    assert places[0] is places[1]


# ---- a trimmed log ----


async def test_a_trimmed_log_sends_those_who_missed_something_back_to_resume(house: House) -> None:
    """Who was there before a long break would have a hole in the conversation and not know of it."""
    old = [await house.open(), await house.open()]
    await house.break_stream()
    new = await house.open()
    await house.messenger.send(log_trimmed=True, deliveries=[delivery(7, *old, new)])
    await eventually(lambda: seqs(new) == [7], "delivered")
    assert [one.closed for one in old] == [1012, 1012]
    assert [seqs(one) for one in old] == [[], []]
    assert new.closed is None


async def test_a_socket_that_was_never_open_before_misses_nothing_by_a_trimmed_log(house: House) -> None:
    """Who connects while the messenger is away would be thrown out when it is back."""
    house.channel.break_stream(None)
    await eventually(lambda: not house.stream.is_attached, "away")
    client = await MemoryTransport().open(house.server, "/v2/ws", house.keys.token(ALICE))
    house.channel.attach = house.messenger.attach
    await eventually(lambda: client.frames, "hello")
    await house.messenger.send(log_trimmed=True, deliveries=[delivery(7, client)])
    await eventually(lambda: seqs(client) == [7], "delivered")
