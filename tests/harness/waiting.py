"""Bounded waits for what another task, thread or process does."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable

WAIT_SECONDS = 20.0
# Processes start within it, also on a busy machine
START_SECONDS = 30.0


async def eventually(
    condition: Callable[[], object | Awaitable[object]], what: str, seconds: float = WAIT_SECONDS
) -> None:
    """Returns once `condition()` is true. Raises `AssertionError` that names `what` after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        await asyncio.sleep(0.002)


def wait_until(condition: Callable[[], object], what: str, seconds: float = START_SECONDS) -> None:
    """Does as `eventually` does, where no event loop runs."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(0.01)
