"""What waits to be written to a gateway."""

import asyncio
import contextlib

import pytest

from palaver.contracts.errors import NOT_FOUND, PalaverError
from palaver.contracts.ids import new_id
from palaver.contracts.messenger_pb2 import MessengerBatch
from palaver.messenger.domain import Message
from palaver.messenger.realtime import gateway_connection as module
from palaver.messenger.realtime.gateway_connection import GatewayConnection, Socket, split_batch
from palaver.messenger.realtime.hub import add_delivery, tell_new
from palaver.messenger.realtime.memberships import Audience
from palaver.messenger.sequencing import Append
from tests.harness.waiting import eventually


class Writer:
    """Where batches are written; a gateway that does not read while `stuck`."""

    def __init__(self, gateway: GatewayConnection) -> None:
        self.batches: list[MessengerBatch] = []
        self.stuck = asyncio.Event()
        self.stuck.set()
        self.task = asyncio.create_task(gateway.write_batches(self.write))

    async def write(self, batch: MessengerBatch) -> None:
        """Takes a batch."""
        await self.stuck.wait()
        self.batches.append(batch)

    async def stop(self) -> None:
        """Ends the writing."""
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task

    def seqs(self) -> list[int]:
        """Of all deliveries."""
        return [delivery.first_seq for batch in self.batches for delivery in batch.deliveries]


async def test_what_one_turn_adds_leaves_as_one_batch_with_the_time() -> None:
    """Each message would cost a gRPC message, and gateways would not know up to when they were told."""
    gateway = GatewayConnection()
    writer = Writer(gateway)
    for count in (1, 3):
        for seq in range(1, count + 1):
            gateway.deliveries.add(first_seq=seq)
            gateway.wake()
        await gateway.written()
    assert [len(batch.deliveries) for batch in writer.batches if batch.deliveries] == [1, 3]
    assert 0 < writer.batches[-2].clock <= writer.batches[-1].clock
    await writer.stop()


async def test_an_idle_stream_says_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quiet gateway would take its stream for broken, and be told old messages after each break."""
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.01)
    writer = Writer(GatewayConnection())
    await eventually(lambda: len(writer.batches) >= 3, "beats")
    clocks = [batch.clock for batch in writer.batches]
    assert clocks == sorted(clocks)
    await writer.stop()


async def test_what_is_held_comes_behind_what_was_missed() -> None:
    """After a broken stream new messages would come before those that were missed."""
    gateway = GatewayConnection()
    gateway.hold_deliveries()
    gateway.deliveries.add(first_seq=3)
    gateway.outbox.deliveries.add(first_seq=1)
    gateway.outbox.deliveries.add(first_seq=2)
    gateway.release_deliveries()
    gateway.deliveries.add(first_seq=4)
    writer = Writer(gateway)
    gateway.wake()
    await gateway.written()
    assert writer.seqs() == [1, 2, 3, 4]
    await writer.stop()


async def test_a_gateway_that_catches_up_is_not_told_the_time() -> None:
    """A stream that breaks meanwhile would leave out, the next time, what it had not told yet."""
    gateway = GatewayConnection()
    gateway.hold_deliveries()
    writer = Writer(gateway)
    gateway.outbox.opened.add(socket=1)
    gateway.wake()
    await eventually(lambda: any(batch.opened for batch in writer.batches), "opened")
    assert {batch.clock for batch in writer.batches} == {0}
    gateway.release_deliveries()
    await gateway.written()
    assert writer.batches[-1].clock > 0
    await writer.stop()


async def test_a_gateway_that_does_not_read_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """One hanging gateway would fill the messenger's memory, and end it for the others (promise P9)."""
    monkeypatch.setattr(module, "MOST_BYTES", 10 * module.ENTRY_BYTES)
    for held in (False, True):
        gateway = GatewayConnection()
        if held:
            gateway.hold_deliveries()
        writer = Writer(gateway)
        writer.stuck.clear()
        for _ in range(10):
            gateway.deliveries.add(first_seq=1)
            gateway.wake()
        assert not gateway.overrun.is_set()
        gateway.deliveries.add(first_seq=1)
        gateway.wake()
        assert gateway.overrun.is_set()
        await writer.stop()


async def test_long_texts_count_for_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that hangs would fill the messenger's memory with a few long messages (promise P9)."""
    monkeypatch.setattr(module, "MOST_BYTES", 100_000)
    gateway = GatewayConnection()
    append = Append(
        Audience(new_id(), False, 1, 0, frozenset()), new_id(), [new_id()], ["x" * 60_000], first_seq=1
    )
    append.ids = [new_id()]
    tell_new(append, gateway, [1])
    assert gateway.overrun.is_set()


async def test_much_that_was_missed_is_told_in_pieces_and_not_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A gateway that missed much would be cut off for asking for it, again and again."""
    monkeypatch.setattr(module, "MOST_BYTES", 5_000)
    monkeypatch.setattr(module, "ROOM_BYTES", 1_000)
    gateway = GatewayConnection()
    gateway.hold_deliveries()
    writer = Writer(gateway)
    writer.stuck.clear()
    message = Message(new_id(), 1, new_id(), new_id(), new_id(), "x" * 3_000, 1)
    add_delivery(gateway, message, [1], missed=True)
    await eventually(lambda: not gateway.outbox.deliveries, "being written")
    add_delivery(gateway, message, [1], missed=True)
    assert not gateway.overrun.is_set()
    waiting = asyncio.create_task(gateway.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    writer.stuck.set()
    await waiting
    await writer.stop()


async def test_a_stop_can_wait_until_all_is_written() -> None:
    """Acknowledgements of a stopping messenger would be lost."""
    gateway = GatewayConnection()
    writer = Writer(gateway)
    await gateway.written()
    writer.stuck.clear()
    gateway.refuse_send(7, PalaverError(NOT_FOUND, "no such chat", field="chat_id"))
    waiting = asyncio.create_task(gateway.written())
    await asyncio.sleep(0.01)
    assert not waiting.done()
    writer.stuck.set()
    await waiting
    (reply,) = writer.batches[-1].sent
    assert (reply.request, reply.error.code, reply.error.field) == (7, "not_found", "chat_id")
    await writer.stop()


def test_a_large_batch_is_split_in_order() -> None:
    """A busy moment would make a batch that the gateway refuses, and so break its stream."""
    batch = MessengerBatch(clock=9, resumed=[5], opened=[{"socket": 1}])
    for seq in range(1, 101):
        batch.deliveries.add(first_seq=seq, texts=["x" * 1_000])
    parts = list(split_batch(batch, 10_000))
    assert len(parts) > 10
    assert all(part.ByteSize() < 12_000 for part in parts)
    assert [d.first_seq for part in parts for d in part.deliveries] == list(range(1, 101))
    assert [len(part.opened) for part in parts] == [1] + [0] * (len(parts) - 1)
    # Resumes end behind what they tell, and only with the last part everything has been told
    assert [list(part.resumed) for part in parts] == [[]] * (len(parts) - 1) + [[5]]
    assert [part.clock for part in parts] == [0] * (len(parts) - 1) + [9]


def test_many_answers_are_split_too() -> None:
    """Readers of long pages would break the stream that all sockets hang on."""
    batch = MessengerBatch(clock=9)
    for number in range(100):
        batch.read_replies.add(number=number, page={"texts": ["x" * 1_000]})
    parts = list(split_batch(batch, 10_000))
    assert all(part.ByteSize() < 12_000 for part in parts)
    assert [answer.number for part in parts for answer in part.read_replies] == list(range(100))


def test_a_small_batch_stays_whole() -> None:
    """Each batch would be written twice."""
    batch = MessengerBatch(clock=9)
    assert list(split_batch(batch, 10_000)) == [batch]


async def test_a_socket_passes_over_what_its_resume_tells() -> None:
    """A client that resumes would be told its newest messages twice, or one of them never."""
    chat_id = new_id()
    socket = Socket(1, GatewayConnection(), new_id(), new_id(), 1, implicit=False)
    assert not socket.passes_over(chat_id, 5)
    socket.floors = {chat_id: 7}
    assert socket.passes_over(chat_id, 6)
    assert socket.passes_over(chat_id, 7)
    assert socket.held_back == {chat_id: 7}
    assert not socket.passes_over(new_id(), 1)
    assert not socket.passes_over(chat_id, 8)
    assert not socket.passes_over(chat_id, 6)
