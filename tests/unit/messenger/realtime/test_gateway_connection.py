"""What waits to be written to a gateway."""

import asyncio

import pytest

from palaver.contracts.errors import NOT_FOUND, PalaverError
from palaver.contracts.ids import new_id
from palaver.contracts.messenger_pb2 import MessengerBatch
from palaver.messenger.domain import Membership, Message
from palaver.messenger.events import Position
from palaver.messenger.pending_send import PendingSend, StoredKey
from palaver.messenger.realtime import gateway_connection as module
from palaver.messenger.realtime.followed import FollowedPositions
from palaver.messenger.realtime.gateway_connection import (
    GatewayConnection,
    GatewayReply,
    Socket,
    split_batch,
)
from palaver.messenger.realtime.hub import add_new, add_stored
from tests.harness.noted_replies import NotedReply
from tests.harness.stream_peers import NotedStream
from tests.harness.waiting import eventually


class Writer(NotedStream):
    """A stream to a gateway, which takes nothing while it is not writable."""

    def __init__(self, followed: FollowedPositions | None = None) -> None:
        super().__init__()
        self.gateway = GatewayConnection(followed or FollowedPositions(), self)
        self.gateway.start_heart()

    @property
    def batches(self) -> list[MessengerBatch]:
        """What was written."""
        return self.written

    def read(self) -> None:
        """The gateway reads again."""
        self.is_writable = True
        self.gateway.flush()

    def seqs(self) -> list[int]:
        """Of all deliveries."""
        return [delivery.first_seq for batch in self.batches for delivery in batch.deliveries]


def positions(batch: MessengerBatch) -> dict[int, int]:
    """How far the gateway has followed with a batch; empty: the batch does not say."""
    return {one.writer: one.number for one in batch.followed}


async def test_what_one_turn_adds_leaves_as_one_batch_with_its_position() -> None:
    """Each message would cost a gRPC message, and gateways would not know up to when they were told."""
    followed = FollowedPositions()
    writer = Writer(followed)
    gateway = writer.gateway
    for count in (1, 3):
        for seq in range(1, count + 1):
            gateway.live.deliveries.add(first_seq=seq)
            gateway.wake()
        followed.note(Position(1, count))
        followed.finish(Position(1, count))
        await gateway.written()
    followed.note(Position(1, 4))
    gateway.wake()
    await gateway.written()
    assert [len(batch.deliveries) for batch in writer.batches if batch.deliveries] == [1, 3]
    # The third was finished before the second: everything up to it has not been delivered yet
    assert [positions(batch) for batch in writer.batches] == [{1: 1}, {}, {}]
    assert [batch.settled for batch in writer.batches] == [True, False, False]
    writer.gateway.stop_heart()


async def test_an_idle_stream_says_the_position(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quiet gateway would take its stream for broken, and be told old messages after each break."""
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.01)
    followed = FollowedPositions()
    followed.begin({1: 7})
    writer = Writer(followed)
    await eventually(lambda: len(writer.batches) >= 3, "beats")
    assert positions(writer.batches[0]) == {1: 7}
    # It is said again where it has moved, though there was nothing for this gateway
    followed.note(Position(1, 8))
    followed.finish(Position(1, 8))
    await eventually(lambda: positions(writer.batches[-1]) == {1: 8}, "the next position")
    await eventually(lambda: len(writer.batches) >= 6, "beats")
    assert [positions(batch) for batch in writer.batches if batch.followed] == [{1: 7}, {1: 8}]
    assert all(batch.settled for batch in writer.batches)
    writer.gateway.stop_heart()


async def test_what_is_held_comes_behind_what_was_missed() -> None:
    """After a broken stream new messages would come before those that were missed."""
    writer = Writer()
    gateway = writer.gateway
    gateway.hold_deliveries()
    gateway.live.deliveries.add(first_seq=3)
    gateway.outbox.deliveries.add(first_seq=1)
    gateway.outbox.deliveries.add(first_seq=2)
    gateway.release_deliveries()
    gateway.live.deliveries.add(first_seq=4)
    gateway.wake()
    await gateway.written()
    assert writer.seqs() == [1, 2, 3, 4]
    writer.gateway.stop_heart()


async def test_a_gateway_that_catches_up_is_not_told_the_position() -> None:
    """A stream that breaks meanwhile would leave out, the next time, what it had not told yet."""
    followed = FollowedPositions()
    followed.begin({1: 7})
    writer = Writer(followed)
    gateway = writer.gateway
    gateway.hold_deliveries()
    gateway.outbox.opened.add(socket=1)
    gateway.wake()
    await eventually(lambda: any(batch.opened for batch in writer.batches), "opened")
    assert [positions(batch) for batch in writer.batches] == [{}]
    assert not writer.batches[-1].settled
    gateway.release_deliveries()
    await gateway.written()
    assert [positions(batch) for batch in writer.batches if batch.followed] == [{1: 7}]
    writer.gateway.stop_heart()


async def test_the_batch_behind_what_was_missed_settles_nothing() -> None:
    """The gateway would forget what it delivered, and deliver again what that batch repeats."""
    followed = FollowedPositions()
    followed.begin({1: 7})
    writer = Writer(followed)
    gateway = writer.gateway
    gateway.hold_deliveries()
    gateway.outbox.deliveries.add(first_seq=1)
    gateway.live.deliveries.add(first_seq=1)
    gateway.release_deliveries()
    await eventually(lambda: writer.batches and writer.batches[-1].settled, "settled")
    assert [(len(batch.deliveries), batch.settled) for batch in writer.batches] == [(2, False), (0, True)]
    writer.gateway.stop_heart()


async def test_a_gateway_that_does_not_read_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """One hanging gateway would fill the messenger's memory, and end it for the others (promise P9)."""
    monkeypatch.setattr(module, "MOST_BYTES", 10 * module.ENTRY_BYTES)
    for held in (False, True):
        writer = Writer()
        gateway = writer.gateway
        if held:
            gateway.hold_deliveries()
        writer.is_writable = False
        for _ in range(10):
            gateway.live.deliveries.add(first_seq=1)
            gateway.wake()
        assert not gateway.overrun.is_set()
        gateway.live.deliveries.add(first_seq=1)
        gateway.wake()
        assert gateway.overrun.is_set()
        writer.gateway.stop_heart()


async def test_long_texts_count_for_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that hangs would fill the messenger's memory with a few long messages (promise P9)."""
    monkeypatch.setattr(module, "MOST_BYTES", 100_000)
    writer = Writer()
    gateway = writer.gateway
    membership = Membership(new_id(), False, 1, frozenset())
    send = PendingSend(membership, new_id(), [new_id()], ["x" * 60_000], NotedReply(), first_seq=1)
    send.ids = [new_id()]
    add_new(send, gateway, [1])
    assert gateway.overrun.is_set()


async def test_much_that_was_missed_is_told_in_pieces_and_not_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A gateway that missed much would be cut off for asking for it, again and again."""
    monkeypatch.setattr(module, "MOST_BYTES", 5_000)
    monkeypatch.setattr(module, "ROOM_BYTES", 1_000)
    writer = Writer()
    gateway = writer.gateway
    gateway.hold_deliveries()
    writer.is_writable = False
    message = Message(new_id(), 1, new_id(), new_id(), new_id(), "x" * 3_000, 1)
    for _ in range(2):
        add_stored(gateway, message, [1], missed=True)
        await asyncio.sleep(0)
    assert not gateway.overrun.is_set()
    waiting = asyncio.create_task(gateway.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    writer.read()
    await waiting
    writer.gateway.stop_heart()


async def test_a_stop_can_wait_until_all_is_written() -> None:
    """Acknowledgements of a stopping messenger would be lost."""
    writer = Writer()
    gateway = writer.gateway
    await gateway.written()
    writer.is_writable = False
    gateway.refuse_send(7, PalaverError(NOT_FOUND, "no such chat", field="chat_id"))
    waiting = asyncio.create_task(gateway.written())
    await asyncio.sleep(0.01)
    assert not waiting.done()
    writer.read()
    await waiting
    (reply,) = writer.batches[-1].sent
    assert (reply.request, reply.error.code, reply.error.field) == (7, "not_found", "chat_id")
    writer.gateway.stop_heart()


def test_a_large_batch_is_split_in_order() -> None:
    """A busy moment would make a batch that the gateway refuses, and so break its stream."""
    batch = MessengerBatch(
        followed=[{"writer": 1, "number": 9}], settled=True, resumed=[5], opened=[{"socket": 1}]
    )
    for seq in range(1, 101):
        batch.deliveries.add(first_seq=seq, texts=["x" * 1_000])
    parts = list(split_batch(batch, 10_000))
    assert len(parts) > 10
    assert all(part.ByteSize() < 12_000 for part in parts)
    assert [d.first_seq for part in parts for d in part.deliveries] == list(range(1, 101))
    assert [len(part.opened) for part in parts] == [1] + [0] * (len(parts) - 1)
    # Resumes end behind what they tell, and only with the last part everything has been told
    assert [list(part.resumed) for part in parts] == [[]] * (len(parts) - 1) + [[5]]
    assert [positions(part) for part in parts] == [{}] * (len(parts) - 1) + [{1: 9}]
    assert [part.settled for part in parts] == [False] * (len(parts) - 1) + [True]


def test_a_trimmed_log_is_named_by_the_first_part() -> None:
    """Sockets would get new messages behind a hole, then be sent away with cursors beyond the hole."""
    batch = MessengerBatch(log_trimmed=True)
    for seq in range(100):
        batch.deliveries.add(first_seq=seq, texts=["x" * 1_000])
    parts = list(split_batch(batch, 10_000))
    assert [part.log_trimmed for part in parts] == [True] + [False] * (len(parts) - 1)


def test_many_answers_are_split_too() -> None:
    """Readers of long pages would break the stream that all sockets hang on."""
    batch = MessengerBatch(followed=[{"writer": 1, "number": 9}])
    for number in range(100):
        batch.read_replies.add(number=number, page={"texts": ["x" * 1_000]})
    parts = list(split_batch(batch, 10_000))
    assert all(part.ByteSize() < 12_000 for part in parts)
    assert [answer.number for part in parts for answer in part.read_replies] == list(range(100))


ENTRIES = {
    "deliveries": {"sockets": range(100_000, 100_300)},
    "read_replies": {"page": {"texts": ["x" * 1_000]}},
    "sent": {"ids": [b"i" * 16] * 60},
    "receipts": {"sockets": range(100_000, 100_300)},
    "typings": {"sockets": range(100_000, 100_300)},
    "presences": {"sockets": range(100_000, 100_300)},
    "errors": {"error": {"message": "x" * 1_000}},
}


@pytest.mark.parametrize("field", ENTRIES)
def test_a_part_is_bounded_whatever_it_is_of(field: str) -> None:
    """A thousand members who read at once would make a batch that gRPC refuses, and break the stream."""
    batch = MessengerBatch(resumed=[5])
    for _ in range(100):
        getattr(batch, field).add(**ENTRIES[field])
    parts = list(split_batch(batch, 10_000))
    assert all(part.ByteSize() < 12_000 for part in parts)
    assert sum(len(getattr(part, field)) for part in parts) == 100
    assert [list(part.resumed) for part in parts] == [[]] * (len(parts) - 1) + [[5]]


def test_a_small_batch_stays_whole() -> None:
    """Each batch would be written twice."""
    batch = MessengerBatch(followed=[{"writer": 1, "number": 9}])
    assert list(split_batch(batch, 10_000)) == [batch]


async def test_a_socket_passes_over_what_its_resume_tells() -> None:
    """A client that resumes would be told its newest messages twice, or one of them never."""
    chat_id = new_id()
    socket = Socket(1, Writer().gateway, new_id(), new_id(), 1, implicit=False)
    assert not socket.passes_over(chat_id, 5)
    socket.floors = {chat_id: 7}
    assert socket.passes_over(chat_id, 6)
    assert socket.passes_over(chat_id, 7)
    assert socket.held_back == {chat_id: 7}
    assert not socket.passes_over(new_id(), 1)
    assert not socket.passes_over(chat_id, 8)
    assert not socket.passes_over(chat_id, 6)


async def test_a_repeated_send_is_answered_with_what_is_stored() -> None:
    """A client that repeats would wait for ever, or take its message for another one."""
    writer = Writer()
    gateway = writer.gateway
    membership = Membership(new_id(), False, 1, frozenset())
    reply = GatewayReply(gateway, 3, 77)
    send = PendingSend(membership, new_id(), [new_id()], ["a"], reply)
    send.first_seq, send.ids, send.created_at = 5, [new_id()], 123
    # What is all new is answered by its delivery
    reply.store(send)
    assert not gateway.outbox.sent
    stored = StoredKey(2, new_id(), 99)
    send.ids, send.stored = [], [stored]
    reply.store(send)
    (sent,) = gateway.outbox.sent
    assert (sent.request, list(sent.seqs), list(sent.ids), list(sent.created_at)) == (
        77,
        [2],
        [stored.id],
        [99],
    )
