"""Turns at something of which there are only a few: given out in rounds, so that nobody waits for all that
somebody else wants.

With a plain queue, one user who asks for a thousand things makes everybody else wait for a thousand things.
"""

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeAlias, TypeVar

from palaver.contracts.errors import OVERLOADED, RATE_LIMITED, PalaverError
from palaver.runtime.rate_limits import Key
from palaver.runtime.requester import SERVICE, requester

P = ParamSpec("P")
T = TypeVar("T")

RETRY_SECONDS = 1.0
# Who has so many waiting already is refused more. What clients of people start at once is far less
MOST_OF_ONE = 100
MOST_WAITING = 10_000

# Lanes at a database. Turns alternate between what users ask for and what the service does by itself: the
# journal's batches, in which everybody's messages are, wait for one change at most
USERS, OWN = "users", "own"

Turn: TypeAlias = "asyncio.Future[None]"
Waiters: TypeAlias = deque[Turn]
Lane = OrderedDict[Key, Waiters]


class FairTurns:
    """`slots` turns at once. Lanes take turns, and in each lane those who wait in it, each by a key.

    `most_of_one`: may wait of one key, `most_waiting` of all. Where all wait that may, a newcomer takes the
    place of the newest of whoever has most. The service's own work is not bounded: it bounds itself.
    """

    def __init__(self, slots: int, most_of_one: int = MOST_OF_ONE, most_waiting: int = MOST_WAITING) -> None:
        self._slots = self._free = slots
        self._most_of_one = most_of_one
        self._most_waiting = most_waiting
        self._lanes: OrderedDict[str, Lane] = OrderedDict()
        self.waiting = 0

    @property
    def is_free(self) -> bool:
        """Whether a turn would be given at once."""
        return self._free > 0

    @property
    def wanted(self) -> int:
        """How many have a turn or wait for one."""
        return self._slots - self._free + self.waiting

    @contextlib.asynccontextmanager
    async def turn(self, key: Key, lane: str = "") -> AsyncIterator[None]:
        """A turn for the block. Raises what `take` raises."""
        await self.take(key, lane)
        try:
            yield
        finally:
            self.release()

    async def take(self, key: Key, lane: str = "") -> None:
        """Waits for a turn; `release` ends it. Raises `rate_limited` where the key has too many waiting, and
        `overloaded` where everybody has. Who gives up is not waited for."""
        if self._free > 0:
            # Nobody waits then: a turn that ends is given to whoever does
            self._free -= 1
            return
        if key != SERVICE:
            self._make_room(key, lane)
        turn: Turn = asyncio.get_running_loop().create_future()
        self._lanes.setdefault(lane, OrderedDict()).setdefault(key, deque()).append(turn)
        self.waiting += 1
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._remove(turn, key, lane)
            elif turn.exception() is None:
                # It was given in the moment in which the caller gave up
                self.release()
            raise

    def release(self) -> None:
        """Ends a turn; the next in the round gets it."""
        while self._lanes:
            turn = self._next()
            # Whoever has just given up is about to remove it
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    async def given(self) -> None:
        """Waits until nobody waits for a turn any more."""
        while self.waiting:
            async with self.turn(SERVICE):
                pass

    def _next(self) -> Turn:
        lane_name, lane = next(iter(self._lanes.items()))
        key, waiters = next(iter(lane.items()))
        turn = waiters.popleft()
        self.waiting -= 1
        lane.move_to_end(key)
        self._lanes.move_to_end(lane_name)
        self._forget_empty(key, lane_name)
        return turn

    def _make_room(self, key: Key, lane: str) -> None:
        own = len(self._waiters(key, lane))
        if own >= self._most_of_one:
            raise too_many_at_once()
        if self.waiting < self._most_waiting:
            return
        longest = max(
            (
                (lane_name, other)
                for lane_name, keys in self._lanes.items()
                for other in keys
                if other != SERVICE
            ),
            key=lambda one: len(self._lanes[one[0]][one[1]]),
        )
        waiters = self._lanes[longest[0]][longest[1]]
        if len(waiters) <= own + 1:
            raise PalaverError(OVERLOADED, retry_after=RETRY_SECONDS, waiting=self.waiting)
        turn = waiters.pop()
        self.waiting -= 1
        if not turn.done():
            turn.set_exception(too_many_at_once())

    def _remove(self, turn: Turn, key: Key, lane: str) -> None:
        waiters = self._waiters(key, lane)
        # Otherwise its turn came between the moment in which the caller gave up and this one
        if turn in waiters:
            waiters.remove(turn)
            self.waiting -= 1
            self._forget_empty(key, lane)

    def _waiters(self, key: Key, lane: str) -> Waiters:
        keys = self._lanes.get(lane)
        return keys.get(key, deque()) if keys is not None else deque()

    def _forget_empty(self, key: Key, lane: str) -> None:
        if not self._lanes[lane][key]:
            del self._lanes[lane][key]
        if not self._lanes[lane]:
            del self._lanes[lane]


def lane_of_task() -> str:
    """The lane in which this task waits for its turn."""
    return OWN if requester() == SERVICE else USERS


async def run_in_turn(
    turns: FairTurns,
    lane: str,
    pool: ThreadPoolExecutor,
    work: Callable[P, T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """What `work` returns, in a thread of the pool, once it is the requester's turn. Raises what
    `FairTurns.take` raises."""
    await turns.take(requester(), lane)
    loop = asyncio.get_running_loop()

    def end_turn(_: "Future[T]") -> None:
        # Not when the caller gives up: the thread goes on with what it has begun
        loop.call_soon_threadsafe(turns.release)

    try:
        future = pool.submit(work, *args, **kwargs)
    except BaseException:
        turns.release()
        raise
    future.add_done_callback(end_turn)
    return await asyncio.wrap_future(future)


def too_many_at_once() -> PalaverError:
    """Whoever has too many requests waiting gets it, and nobody else."""
    return PalaverError(RATE_LIMITED, "too many requests at once", retry_after=RETRY_SECONDS)
