"""Publishing of one replica's transactions to the others, in flushes."""

import asyncio
from collections.abc import Sequence
from typing import Any

from palaver.messenger.events import Position
from palaver.messenger.realtime.bus import Published
from palaver.messenger.realtime.redis.frames import Flush, Publication, encode, make_flush
from palaver.runtime.redis import metrics
from palaver.runtime.redis.client import RedisAwayError, RedisClient, pause_of
from palaver.runtime.telemetry.configuration import log

# Of a flush, with room for one transaction more
EVENTS_AT_ONCE = 2_000
# While so many events wait for Redis, what comes is dropped
MOST_EVENTS = 20_000
# What waits at a stop is published within it, or dropped
STOP_SECONDS = 1.0


class Publisher:
    """Publishes in the order of `publish`, without making it wait.

    While one flush is on its way the next one gathers. What Redis does not take is dropped: it is in the log,
    and the next head says that there is something to look for.
    """

    def __init__(self, client: RedisClient, replica: bytes, topic_prefix: bytes, heads: bytes) -> None:
        self._client = client
        self._replica = replica
        self._topic_prefix = topic_prefix
        self._heads = heads
        self._waiting: list[Publication] = []
        self._events = 0
        self._flush = 0
        self._has_dropped = False
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def publish(self, position: Position | None, events: Sequence[Published]) -> None:
        """See `Bus.publish`."""
        if self._events >= MOST_EVENTS:
            self._drop(1)
            return
        self._waiting.append(Publication(position, events))
        self._events += 1 + len(events)
        self._idle.clear()
        self._wake.set()

    async def run(self) -> None:
        """Publishes until cancelled."""
        failures = 0
        while True:
            await self._wake.wait()
            # Tasks begin in the next turn of the event loop: all that this turn publishes is there
            self._wake.clear()
            publications = self._take()
            try:
                await self._publish(publications)
                failures = 0
            except Exception as error:
                if not isinstance(error, RedisAwayError):
                    log.exception("not_published")
                failures += 1
                self._drop(len(publications) + len(self._waiting))
                self._waiting.clear()
                self._events = 0
                await asyncio.sleep(pause_of(failures))
            if self._waiting or self._has_dropped:
                self._wake.set()
            else:
                self._idle.set()

    async def stop(self) -> None:
        """Publishes what waits, but not for ever."""
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._idle.wait()
        except TimeoutError:
            self._drop(len(self._waiting))

    def _drop(self, publications: int) -> None:
        metrics.DROPPED.inc(publications)
        self._has_dropped = True

    def _take(self) -> list[Publication]:
        taken = count = 0
        while count < len(self._waiting) and taken < EVENTS_AT_ONCE:
            taken += 1 + len(self._waiting[count].events)
            count += 1
        publications, self._waiting = self._waiting[:count], self._waiting[count:]
        self._events -= taken
        return publications

    async def _publish(self, publications: Sequence[Publication]) -> None:
        if not (publications or self._has_dropped):
            return
        self._flush += 1
        has_dropped, self._has_dropped = self._has_dropped, False
        try:
            await self._send(make_flush(self._replica, self._flush, publications, has_dropped))
        except BaseException:
            self._has_dropped = True
            raise

    async def _send(self, flush: Flush) -> None:
        def fill(pipeline: Any) -> None:
            for topic, frame in flush.frames.items():
                pipeline.publish(self._topic_prefix + topic, encode(frame))
            if flush.head is not None:
                pipeline.publish(self._heads, encode(flush.head))

        await self._client.run(fill)
