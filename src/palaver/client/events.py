"""Events that wait for the user of a socket: bounded, and none is dropped."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

from palaver.client.protocol import Event

# While a send waits for its acknowledgement, so many times the bound may wait.
STRETCH = 10


class EventQueue:
    """Events between the task that reads the socket and the one that iterates over them.

    The reader of the socket calls `wait_for_room` before each frame: an event is never dropped, instead
    nothing more is read, and the server learns by TCP that this client is slow.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._events: deque[Event] = deque()
        self._came = asyncio.Event()
        self._moved = asyncio.Event()
        self._error: BaseException | None = None
        self._ended = False

    def put(self, events: Iterable[Event]) -> None:
        """Adds events."""
        self._events.extend(events)
        if self._events:
            self._came.set()

    async def get(self) -> Event | None:
        """The next event; None: there will be no more. Raises what ended the socket."""
        while not self._events:
            if self._ended:
                if self._error is not None:
                    raise self._error
                return None
            self._came.clear()
            await self._came.wait()
        event = self._events.popleft()
        self._moved.set()
        return event

    async def wait_for_room(self, is_urgent: Callable[[], bool]) -> None:
        """Returns when another frame may be read.

        `is_urgent`: a send waits. A bot that sends in its loop over events takes none meanwhile, and would
        wait for ever for an acknowledgement that is not read; so the bound stretches.
        """
        while len(self._events) >= self._most:
            if is_urgent() and len(self._events) < self._most * STRETCH:
                return
            self._moved.clear()
            await self._moved.wait()

    def recheck(self) -> None:
        """Evaluates `is_urgent` again."""
        self._moved.set()

    def end(self, error: BaseException | None) -> None:
        """No more events will come; `error` is raised behind the last one."""
        if not self._ended:
            self._ended, self._error = True, error
            self._came.set()
