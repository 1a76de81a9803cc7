"""The bus between messenger replicas over Redis' publish and subscribe."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence

from palaver.messenger.events import Event, Position
from palaver.messenger.realtime.bus import LOOK_SECONDS, Published, Receive
from palaver.messenger.realtime.redis.frames import Frame, Head, Placed, decode_frame, decode_head
from palaver.messenger.realtime.redis.publisher import Publisher
from palaver.runtime.redis import metrics
from palaver.runtime.redis.client import RedisClient
from palaver.runtime.redis.subscriber import Subscriber
from palaver.runtime.telemetry.configuration import log

# A Redis that is away keeps a replica from starting for no longer than this
START_SECONDS = 2.0


class RedisBus:
    """Topics are channels of Redis; one channel more has the heads of all flushes (see `frames`).

    Redis carries out a flush as one transaction: who subscribes gets all of it, or nothing.
    """

    is_shared = True
    look_seconds = LOOK_SECONDS

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self._replicas: dict[bytes, _Replica] = {}

    async def start(self, replica: bytes, receive: Receive, lost: Callable[[], None]) -> None:
        """See `Bus.start`."""
        joined = self._replicas[replica] = _Replica(self._client, replica, receive, lost)
        await joined.start()

    async def stop(self, replica: bytes) -> None:
        """See `Bus.stop`."""
        joined = self._replicas.pop(replica, None)
        if joined is not None:
            await joined.stop()

    def is_whole(self, replica: bytes) -> bool:
        """See `Bus.is_whole`."""
        joined = self._replicas.get(replica)
        return joined is not None and joined.subscriber.is_whole

    async def subscribe(self, replica: bytes, topics: Iterable[bytes]) -> None:
        """See `Bus.subscribe`."""
        await self._replicas[replica].subscribe(set(topics))

    async def unsubscribe(self, replica: bytes, topics: Iterable[bytes]) -> None:
        """See `Bus.unsubscribe`."""
        self._replicas[replica].unsubscribe(set(topics))

    def publish(self, replica: bytes, position: Position | None, events: Sequence[Published]) -> None:
        """See `Bus.publish`."""
        self._replicas[replica].publisher.publish(position, events)


class _Replica:
    """One replica on the bus."""

    def __init__(
        self, client: RedisClient, replica: bytes, receive: Receive, lost: Callable[[], None]
    ) -> None:
        self._replica = replica
        self._receive = receive
        self._lost = lost
        self._topics: set[bytes] = set()
        # What came of a flush whose head did not come yet, by its replica
        self._gathered: dict[bytes, Frame] = {}
        self._heads = client.prefix + b"heads"
        self._topic_prefix = client.prefix + b"topic:"
        self._was_whole = False
        self.subscriber = Subscriber(client, self._receive_message, self._note_whole)
        self.publisher = Publisher(client, replica, self._topic_prefix, self._heads)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Subscribes to the heads, and begins to publish."""
        await self.subscriber.subscribe([self._heads])
        self._tasks = [
            asyncio.create_task(self.subscriber.run(), name="subscriber"),
            asyncio.create_task(self.publisher.run(), name="publisher"),
        ]
        await self.subscriber.until_whole(START_SECONDS)
        # Where it is away: what is missed from here on is a gap
        self._was_whole = True

    async def stop(self) -> None:
        """Publishes what waits, and leaves."""
        await self.publisher.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def subscribe(self, topics: Collection[bytes]) -> None:
        """See `Bus.subscribe`."""
        self._topics.update(topics)
        await self.subscriber.subscribe([self._topic_prefix + topic for topic in topics])

    def unsubscribe(self, topics: Collection[bytes]) -> None:
        """See `Bus.unsubscribe`."""
        self._topics.difference_update(topics)
        self.subscriber.unsubscribe([self._topic_prefix + topic for topic in topics])

    def _note_whole(self) -> None:
        self._gathered.clear()
        if self._was_whole:
            metrics.GAPS.inc()
            log.info("bus_joined_again", topics=len(self._topics))
            self._lost()

    def _receive_message(self, channel: bytes, content: bytes) -> None:
        try:
            if channel == self._heads:
                self._receive_head(decode_head(content))
            elif channel.removeprefix(self._topic_prefix) in self._topics:
                self._receive_frame(decode_frame(content))
        except Exception:
            # It is in the log, and whatever it was, what comes after it must arrive
            log.exception("publication_not_received")
            self._lost()

    def _receive_frame(self, frame: Frame) -> None:
        if frame.replica == self._replica:
            return
        if not frame.has_head:
            self._receive(None, [placed.event for placed in frame.events])
            return
        gathered = self._gathered.get(frame.replica)
        if gathered is not None and gathered.flush == frame.flush:
            gathered.events += frame.events
        else:
            self._gathered[frame.replica] = frame

    def _receive_head(self, head: Head) -> None:
        if head.replica == self._replica:
            return
        gathered = self._gathered.pop(head.replica, None)
        events = list(gathered.events) if gathered is not None and gathered.flush == head.flush else []
        events += [placed for placed in head.events if not self._topics.isdisjoint(placed.topics)]
        by_transaction = in_order(events)
        for transaction, position in enumerate(head.positions):
            found = by_transaction.get(transaction, [])
            if found or position is not None:
                self._receive(position, found)
        if head.has_dropped:
            metrics.GAPS.inc()
            self._lost()


def in_order(events: Iterable[Placed]) -> dict[int, list[Event]]:
    """The events of each transaction, each once, however many of its topics they came by."""
    found = {(placed.transaction, placed.number): placed.event for placed in events}
    by_transaction: dict[int, list[Event]] = {}
    for transaction, number in sorted(found):
        by_transaction.setdefault(transaction, []).append(found[transaction, number])
    return by_transaction
