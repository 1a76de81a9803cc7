"""Events that wait for the user of a socket."""

import asyncio

import pytest

from palaver.client.events import STRETCH, EventQueue
from palaver.contracts.errors import UNAVAILABLE, PalaverError
from tests.harness.client_events import message

PATIENCE = 5.0


async def waits(task: "asyncio.Task[None]") -> bool:
    """Whether the task does not end by itself, once all that can happen has happened."""
    for _ in range(10):
        await asyncio.sleep(0)
    return not task.done()


async def test_a_full_queue_stops_the_reading_until_an_event_is_taken() -> None:
    """A slow bot would fill its memory, or lose events."""
    queue = EventQueue(2)
    queue.put([message(1), message(2)])
    reading = asyncio.create_task(queue.wait_for_room(lambda: False))
    assert await waits(reading)
    assert await queue.get() == message(1)
    await asyncio.wait_for(reading, PATIENCE)


async def test_a_send_that_waits_keeps_the_reading_up_within_a_bound() -> None:
    """A bot that answers while its queue is full would wait for ever for an acknowledgement."""
    queue = EventQueue(2)
    urgent = False
    queue.put([message(1), message(2)])
    reading = asyncio.create_task(queue.wait_for_room(lambda: urgent))
    assert await waits(reading)
    urgent = True
    queue.recheck()
    await asyncio.wait_for(reading, PATIENCE)
    queue.put([message(seq) for seq in range(3, 2 * STRETCH + 1)])
    reading = asyncio.create_task(queue.wait_for_room(lambda: urgent))
    assert await waits(reading)
    await queue.get()
    await asyncio.wait_for(reading, PATIENCE)


async def test_the_end_comes_behind_the_last_event() -> None:
    """The last events before an end would be lost, or its reason hidden."""
    queue = EventQueue(2)
    queue.put([message(1)])
    queue.end(PalaverError(UNAVAILABLE))
    assert await queue.get() == message(1)
    with pytest.raises(PalaverError):
        await queue.get()


async def test_an_end_without_a_reason_ends_the_events() -> None:
    """A closed socket would keep its reader waiting."""
    queue = EventQueue(2)
    reading = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.end(None)
    assert await asyncio.wait_for(reading, PATIENCE) is None
