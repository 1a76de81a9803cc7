"""What gathers for the messenger."""

import asyncio

import pytest

from palaver.contracts.messenger_pb2 import GatewayBatch
from palaver.gateway.upstream import batches
from palaver.gateway.upstream.outbox import Outbox
from tests.harness.stream_peers import NotedStream


def sockets(stream: NotedStream) -> list[list[int]]:
    """The sockets of the typings of each batch."""
    return [[typing.socket for typing in batch.typings] for batch in stream.written]


async def test_what_one_turn_adds_leaves_in_one_batch() -> None:
    """Each message would cost a gRPC message, or leave twice."""
    outbox, stream = Outbox(), NotedStream()
    outbox.open(stream)
    for socket in (1, 2):
        outbox.batch.typings.add(socket=socket)
        outbox.wake()
    assert not stream.written
    await asyncio.sleep(0)
    assert sockets(stream) == [[1, 2]]
    assert len(outbox.batch.typings) == 0
    await asyncio.sleep(0)
    assert len(stream.written) == 1


async def test_a_closed_outbox_keeps_nothing() -> None:
    """An hour without the messenger would fill the gateway's memory (promise P9), or end in old typing."""
    outbox, stream = Outbox(), NotedStream()
    outbox.batch.typings.add(socket=1)
    outbox.wake()
    outbox.open(stream)
    outbox.batch.typings.add(socket=2)
    outbox.wake()
    outbox.close()
    outbox.batch.typings.add(socket=3)
    outbox.open(stream)
    await asyncio.sleep(0)
    # A stream that begins has nothing to write
    assert not stream.written
    outbox.batch.typings.add(socket=4)
    outbox.wake()
    await asyncio.sleep(0)
    assert sockets(stream) == [[4]]


async def test_what_a_stream_does_not_take_waits_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """A messenger that is slow for a moment would get sends before their hello, or lose them."""
    monkeypatch.setattr(batches, "BATCH_BYTES", 1_000)
    outbox, stream = Outbox(), NotedStream()
    stream.is_writable = False
    outbox.open(stream, [GatewayBatch(reopened=True)])
    for number in range(10):
        outbox.batch.sends.add(request=number, texts=["x" * 900])
        outbox.wake()
        await asyncio.sleep(0)
    assert not stream.written
    stream.is_writable = True
    outbox.flush()
    assert [batch.reopened for batch in stream.written[:2]] == [True, False]
    assert [send.request for batch in stream.written for send in batch.sends] == list(range(10))
    # Not one batch that the messenger would refuse
    assert len(stream.written) > 5
