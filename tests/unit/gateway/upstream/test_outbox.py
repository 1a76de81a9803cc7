"""What gathers for the messenger."""

import asyncio

from palaver.gateway.upstream.outbox import Outbox


async def test_what_one_turn_adds_leaves_in_one_batch() -> None:
    """Each message would cost a gRPC message, or leave twice."""
    outbox = Outbox()
    outbox.open()
    taking = asyncio.create_task(outbox.take())
    await asyncio.sleep(0)
    for socket in (1, 2):
        outbox.batch.typings.add(socket=socket)
        outbox.wake()
    assert [typing.socket for typing in (await taking).typings] == [1, 2]
    assert len(outbox.batch.typings) == 0


async def test_a_closed_outbox_keeps_nothing() -> None:
    """An hour without the messenger would fill the gateway's memory (promise P9), or end in old typing."""
    outbox = Outbox()
    outbox.batch.typings.add(socket=1)
    outbox.open()
    outbox.batch.typings.add(socket=2)
    outbox.wake()
    outbox.close()
    outbox.batch.typings.add(socket=3)
    outbox.open()
    taking = asyncio.create_task(outbox.take())
    await asyncio.sleep(0)
    # A stream that begins has nothing to write
    assert not taking.done()
    outbox.batch.typings.add(socket=4)
    outbox.wake()
    assert [typing.socket for typing in (await taking).typings] == [4]
