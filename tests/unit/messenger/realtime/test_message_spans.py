"""Spans of messages in the messenger, from its stream and its unary calls to its journal."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from palaver.contracts.ids import new_id, span_id_of_message, text_from_id
from palaver.runtime.telemetry.tracing import tracer
from tests.harness.gateway_stream import gateway_stream
from tests.harness.messenger_database import MessengerDatabase
from tests.harness.realtime import Replica, running_replica
from tests.harness.tracing import recording_spans
from tests.harness.waiting import eventually

ALICE, BOB = new_id(), new_id()
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{CALLER}-01", f"00-{TRACE}-{CALLER}-00"


@pytest_asyncio.fixture
async def replica(messenger_db: MessengerDatabase) -> AsyncIterator[Replica]:
    """A replica."""
    async with running_replica(messenger_db) as replica:
        yield replica


@pytest.fixture
def chat_id(messenger_db: MessengerDatabase) -> bytes:
    """A direct chat."""
    return messenger_db.direct(ALICE, BOB)


async def test_a_sampled_message_is_followed_from_the_stream_to_the_disk(
    messenger_db: MessengerDatabase, replica: Replica, chat_id: bytes
) -> None:
    """Nobody could see how long a message waited for the journal, nor in which batch it was written."""
    with recording_spans() as recorded:
        async with gateway_stream(replica, messenger_db.keys) as gateway:
            alice = await gateway.open(ALICE)
            gateway.send(alice, chat_id, "a", "b", traceparent=SAMPLED)
            await eventually(lambda: recorded.named("commit batch"), "spans")
        (journalled,) = recorded.named("journal message")
        (batch,) = recorded.named("commit batch")
        first = messenger_db.history(chat_id)[0]
    assert (journalled.trace_id, journalled.parent_id) == (TRACE, CALLER)
    assert journalled.span_id == span_id_of_message(first.id)
    assert journalled.attributes["messaging.message.id"] == text_from_id(first.id)
    assert journalled.attributes["palaver.seq"] == 1
    assert journalled.attributes["messaging.batch.message_count"] == 2
    assert journalled.start <= batch.start <= batch.end == journalled.end
    assert batch.links == [(TRACE, journalled.span_id)]
    assert journalled.links == [(batch.trace_id, batch.span_id)]
    assert batch.trace_id != TRACE


async def test_a_message_that_is_not_sampled_keeps_its_trace_id_and_has_no_span(
    messenger_db: MessengerDatabase, replica: Replica, chat_id: bytes
) -> None:
    """Every message would cost spans, however many there are; or most could not be found in the logs."""
    with recording_spans() as recorded:
        async with gateway_stream(replica, messenger_db.keys) as gateway:
            alice, bob = await gateway.open(ALICE), await gateway.open(BOB)
            gateway.send(alice, chat_id, "a", traceparent=UNSAMPLED)
            await eventually(lambda: gateway.seqs(bob) == [1], "told")
    assert [message.trace_id for message in messenger_db.history(chat_id)] == [TRACE]
    assert recorded.all == []


async def test_a_message_of_a_call_is_below_the_call(replica: Replica, chat_id: bytes) -> None:
    """A message that was sent by REST could not be followed beyond the messenger's door."""
    with recording_spans() as recorded:
        with tracer.serve("a call", SAMPLED, {}, is_edge=False) as work:
            await replica.engine.send(chat_id, ALICE, [new_id()], ["a"], retry=False, trace=work.context)
        await eventually(lambda: recorded.named("commit batch"), "spans")
    (journalled,) = recorded.named("journal message")
    assert (journalled.trace_id, journalled.parent_id) == (TRACE, work.span_id)


async def test_a_slow_batch_is_kept_though_nothing_in_it_is_sampled(replica: Replica, chat_id: bytes) -> None:
    """A disk that hangs now and then would leave no trace."""
    with recording_spans(slow_seconds=0.0) as recorded:
        await replica.engine.send(chat_id, ALICE, [new_id()], ["a"], retry=False)
        await eventually(lambda: recorded.named("commit batch"), "span")
    assert recorded.named("commit batch")[0].attributes["messaging.batch.message_count"] == 1


async def test_deliveries_carry_the_trace(
    messenger_db: MessengerDatabase, replica: Replica, chat_id: bytes
) -> None:
    """A gateway could not tell the trace of a message that came from another one, or on a resume."""
    async with (
        gateway_stream(replica, messenger_db.keys) as one,
        gateway_stream(replica, messenger_db.keys) as other,
    ):
        alice, bob = await one.open(ALICE), await other.open(BOB)
        one.send(alice, chat_id, "a", traceparent=SAMPLED)
        one.send(alice, chat_id, "b", request=2, traceparent=UNSAMPLED)
        await eventually(lambda: other.seqs(bob) == [1, 2], "told")
        other.write(resumes=[{"socket": bob, "chat_ids": [chat_id], "after_seqs": [0]}])
        await eventually(lambda: other.all("resumed"), "resumed")
        ids = [span_id_of_message(message.id) for message in messenger_db.history(chat_id)]
        assert [told.traceparent for told in other.deliveries_to(bob)] == [
            f"00-{TRACE}-{ids[0]}-01",
            "",
            f"00-{TRACE}-{ids[0]}-00",
            f"00-{TRACE}-{ids[1]}-00",
        ]
