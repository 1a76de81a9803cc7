"""Turns that are given out in rounds."""

import asyncio
import contextlib
from collections.abc import Sequence

import pytest

from palaver.contracts.errors import OVERLOADED, RATE_LIMITED, PalaverError
from palaver.runtime.fair_turns import FairTurns
from palaver.runtime.requester import SERVICE


class Work:
    """Who had a turn, in order, at `turns`, which are all taken at first."""

    def __init__(self, turns: FairTurns) -> None:
        self.turns = turns
        self.done: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def start(self, *keys: str, lane: str = "") -> Sequence[asyncio.Task[None]]:
        """Begins to wait, one for each of the keys, in their order."""
        started = [asyncio.create_task(self._work(key, lane)) for key in keys]
        self.tasks += started
        await asyncio.sleep(0)
        return started

    async def _work(self, key: str, lane: str) -> None:
        async with self.turns.turn(key, lane):
            self.done.append(key)

    async def finish(self) -> list[str]:
        """Ends the turn that was taken at first. Returns who had turns then."""
        self.turns.release()
        await asyncio.wait_for(asyncio.gather(*self.tasks, return_exceptions=True), 5)
        return self.done


async def busy(**bounds: int) -> Work:
    """One turn, which is taken."""
    turns = FairTurns(1, **bounds)
    await turns.take("somebody")
    return Work(turns)


async def test_one_who_wants_much_does_not_keep_others_waiting() -> None:
    """A user with a thousand requests would make everybody else wait for all of them."""
    work = await busy()
    await work.start(*["greedy"] * 50)
    await work.start("alice", "bob")
    assert (await work.finish())[:4] == ["greedy", "alice", "bob", "greedy"]


async def test_lanes_take_turns_however_many_wait_in_one() -> None:
    """A thousand users who edit would make each batch of messages wait for a thousand edits."""
    work = await busy()
    await work.start(*(f"user {number}" for number in range(20)), lane="users")
    await work.start("journal", "journal", lane="own")
    done = await work.finish()
    assert [place for place, key in enumerate(done) if key == "journal"] == [1, 3]


async def test_only_who_has_too_many_waiting_is_refused() -> None:
    """One user would fill the queue, and everybody would be refused; or the memory would fill."""
    work = await busy(most_of_one=3)
    await work.start(*["greedy"] * 3)
    with pytest.raises(PalaverError) as refused:
        await work.turns.take("greedy")
    assert refused.value.kind is RATE_LIMITED
    assert refused.value.retry_after > 0
    await work.start("alice")
    assert await work.finish() == ["greedy", "alice", "greedy", "greedy"]


async def test_a_full_queue_takes_from_who_has_most() -> None:
    """A handful of attackers would fill the queue together, and everybody else would be refused."""
    work = await busy(most_of_one=4, most_waiting=6)
    greedy = await work.start(*["one"] * 4, *["two"] * 2)
    await work.start("alice")
    assert await work.finish() == ["one", "two", "alice", "one", "two", "one"]
    assert isinstance(evicted := greedy[3].exception(), PalaverError)
    assert evicted.kind is RATE_LIMITED


async def test_a_queue_full_of_many_refuses_newcomers() -> None:
    """Requests that can't be served in time would pile up in memory."""
    work = await busy(most_waiting=2)
    await work.start("alice", "bob")
    with pytest.raises(PalaverError) as refused:
        await work.turns.take("carol")
    assert refused.value.kind is OVERLOADED
    # What the service does by itself is never dropped
    await work.start(SERVICE)  # type: ignore[arg-type] # a key like any other
    assert await work.finish() == ["alice", "bob", SERVICE]


async def test_who_gives_up_is_not_waited_for() -> None:
    """Work that nobody waits for any more would be done before what somebody waits for."""
    work = await busy()
    gone, *_ = await work.start("gone", "alice")
    gone.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await gone
    assert work.turns.waiting == 1
    assert await work.finish() == ["alice"]
    assert work.turns.is_free


async def test_a_turn_that_comes_as_its_caller_gives_up_is_passed_on() -> None:
    """Each such moment would lose a thread for ever, until nothing is served."""
    work = await busy()
    first, second, _ = await work.start("first", "second", "third")
    # Of the two that give up, one has just got the turn
    work.turns.release()
    first.cancel()
    second.cancel()
    await asyncio.wait_for(asyncio.gather(*work.tasks, return_exceptions=True), 5)
    assert work.done == ["third"]
    assert work.turns.is_free


async def test_a_refused_caller_that_gives_up_ends_no_turn() -> None:
    """More would run at once than there are threads."""
    work = await busy(most_of_one=2, most_waiting=2)
    _, evicted = await work.start("greedy", "greedy")
    (alice,) = await work.start("alice")
    evicted.cancel()
    await asyncio.wait([evicted])
    assert not work.turns.is_free
    assert not alice.done()
    await work.finish()
    assert work.done == ["greedy", "alice"]
