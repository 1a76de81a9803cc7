"""Attempts at one thing in several places, of which the first to succeed counts (as in RFC 8305)."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


async def first_success(
    attempts: Sequence[Callable[[], Awaitable[T]]], stagger_seconds: float, discard: Callable[[T], None]
) -> T:
    """The result of the first attempt that succeeds.

    The next attempt begins when one fails, or when none has succeeded for `stagger_seconds`: one place that
    never answers holds up nobody. `discard` gets the results of the others. Raises what the last attempt to
    fail raised.
    """
    waiting = iter(attempts)
    running: set[asyncio.Task[T]] = set()
    failure: BaseException | None = None
    try:
        while True:
            attempt = next(waiting, None)
            if attempt is not None:
                running.add(asyncio.ensure_future(attempt()))
            elif not running:
                raise failure or ValueError("nothing to attempt")
            timeout = stagger_seconds if attempt is not None else None
            done, _ = await asyncio.wait(running, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                running.discard(task)
                if (error := task.exception()) is None:
                    discard_results(done - {task}, discard)
                    return task.result()
                failure = error
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        discard_results(running, discard)


def discard_results(tasks: Iterable["asyncio.Task[T]"], discard: Callable[[T], None]) -> None:
    """Discards what attempts brought after another one had succeeded."""
    for task in tasks:
        if not task.cancelled() and task.exception() is None:
            discard(task.result())
