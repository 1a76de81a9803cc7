"""What transactions of tests wait for, wherever they run: in a thread, or on the event loop."""

import asyncio
import threading

from sqlalchemy.util.concurrency import await_, in_greenlet

BOUND_SECONDS = 10.0
LOOK_SECONDS = 0.001


class Signal:
    """Set once, by a transaction or by the test."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Lets go on whoever waits."""
        self._event.set()

    async def wait(self) -> None:
        """Waits for it, not for ever."""
        async with asyncio.timeout(BOUND_SECONDS):
            while not self._event.is_set():  # noqa: ASYNC110 - it may be set in another thread
                await asyncio.sleep(LOOK_SECONDS)

    def wait_in_work(self) -> None:
        """The same within a transaction."""
        if in_greenlet():
            await_(self.wait())
        else:
            assert self._event.wait(BOUND_SECONDS)
