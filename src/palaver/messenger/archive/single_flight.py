"""One read for all who want the same at the same time."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Whoever asks for what is being read gets what that read returns, or raises."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, asyncio.Task[T]] = {}

    async def run(self, key: Hashable, read: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What `read()` returns, begun now or by somebody else."""
        task = self._flights.get(key)
        if task is None:
            task = self._flights[key] = asyncio.create_task(read())
            task.add_done_callback(lambda done: self._land(key, done))
        # Whoever gives up leaves the others their read
        return await asyncio.shield(task)

    def _land(self, key: Hashable, task: "asyncio.Task[T]") -> None:
        del self._flights[key]
        if not task.cancelled():
            # All who waited may be gone: nobody is to be warned of an error that nobody has fetched
            task.exception()
