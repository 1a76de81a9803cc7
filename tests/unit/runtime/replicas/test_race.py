"""Attempts in several places, of which the first to succeed counts."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from palaver.runtime.replicas.race import first_success

LONG = 60.0


class Places:
    """What was attempted, cancelled and discarded. A place answers, fails, or hangs."""

    def __init__(self) -> None:
        self.attempted: list[str] = []
        self.cancelled: list[str] = []
        self.discarded: list[str] = []

    async def attempt(self, name: str) -> str:
        """Does what the name says."""
        self.attempted.append(name)
        if name.startswith("fails"):
            raise ConnectionError(name)
        if name.startswith("hangs"):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled.append(name)
                raise
        return name

    async def first(self, *names: str, stagger: float = LONG) -> str:
        """The first success among them."""
        attempts: list[Callable[[], Awaitable[str]]] = [partial(self.attempt, name) for name in names]
        return await asyncio.wait_for(first_success(attempts, stagger, self.discarded.append), 10)


async def test_the_next_is_tried_as_soon_as_one_fails() -> None:
    """A stream would wait for a messenger that has refused already."""
    places = Places()
    assert await places.first("fails", "answers", "answers too") == "answers"
    assert places.attempted == ["fails", "answers"]


async def test_one_that_hangs_is_not_waited_for() -> None:
    """A frozen messenger would hold up the move to another one."""
    places = Places()
    assert await places.first("hangs", "hangs too", "answers", stagger=0.01) == "answers"
    assert sorted(places.cancelled) == ["hangs", "hangs too"]


async def test_without_a_success_the_last_failure_is_raised() -> None:
    """The log would not say why there is no stream."""
    with pytest.raises(ConnectionError, match="fails too"):
        await Places().first("fails", "fails too")
    with pytest.raises(ValueError, match="nothing"):
        await Places().first()


async def test_what_comes_too_late_is_discarded() -> None:
    """Connections that nobody uses would stay open at the messengers."""
    both = asyncio.Event()
    discarded: list[str] = []

    async def answer(name: str) -> str:
        await both.wait()
        return name

    asyncio.get_running_loop().call_later(0.05, both.set)
    attempts = [partial(answer, "one"), partial(answer, "other")]
    winner = await asyncio.wait_for(first_success(attempts, 0.001, discarded.append), 10)
    assert {winner, *discarded} == {"one", "other"}


async def test_a_caller_that_gives_up_leaves_nothing_behind() -> None:
    """A gateway that is stopped while it attaches would leave connections open."""
    places = Places()
    waiting = asyncio.create_task(places.first("hangs", "hangs too", stagger=0.001))
    while len(places.attempted) < 2:  # noqa: ASYNC110 - two turns of the loop
        await asyncio.sleep(0.001)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert sorted(places.cancelled) == ["hangs", "hangs too"]
