"""The bus between messenger replicas: who writes publishes, who has a socket in a chat subscribes.

A hint, never the truth: the commit log is that.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple, Protocol

from palaver.messenger.events import Event, Position

# A bus loses something when a replica or the bus itself is restarted. Without one the log is looked at so
# often that somebody who waits for an answer hardly notices
LOOK_SECONDS = 1.0
LOOK_SECONDS_WITHOUT_BUS = 0.1


class Published(NamedTuple):
    """An event, and the ids of the chats and users that it concerns."""

    topics: Collection[bytes]
    event: Event


# Called with a transaction of another replica and those of its events that concern one's topics: maybe none,
# since followers count all numbers. The position is None where nothing was committed. Must not wait.
Receive = Callable[[Position | None, Sequence[Event]], None]
# Called where publications may have been lost: what is newer than what was received is read from the log
Lost = Callable[[], None]


class Bus(Protocol):
    """Carries events between replicas, in order from each of them.

    A replica gets those that have one of its topics, each once. An adapter that may have lost some says so:
    positions that it does not deliver are holes in what was followed, and the commit log fills them.
    """

    @property
    def is_shared(self) -> bool:
        """Whether other replicas may commit. Where none can, nobody need subscribe, or look at the log for
        what they did."""
        ...

    @property
    def look_seconds(self) -> float:
        """How often a replica looks at the commit log for what the bus has lost."""
        ...

    async def start(self, replica: bytes, receive: Receive, lost: Lost) -> None:
        """Joins: `receive` is called from now on, and so is `lost`."""
        ...

    async def stop(self, replica: bytes) -> None:
        """Leaves, and forgets the replica's subscriptions."""
        ...

    def is_whole(self, replica: bytes) -> bool:
        """Whether what is published arrives at the replica. Where it does not, nothing is received until
        `lost` is called."""
        ...

    async def subscribe(self, replica: bytes, topics: Iterable[bytes]) -> None:
        """Adds topics. On return everything that is published with one of them arrives, where the bus is
        whole; it does not wait for one that is not."""
        ...

    async def unsubscribe(self, replica: bytes, topics: Iterable[bytes]) -> None:
        """Takes topics away."""
        ...

    def publish(self, replica: bytes, position: Position | None, events: Sequence[Published]) -> None:
        """Sends a transaction, or what is not committed at all, to all other replicas. Does not wait."""
        ...


class LocalBus:
    """The bus of a replica that is alone: nobody publishes, and nobody receives."""

    is_shared = False
    look_seconds = LOOK_SECONDS

    async def start(self, replica: bytes, receive: Receive, lost: Lost) -> None:
        """See `Bus.start`."""

    async def stop(self, replica: bytes) -> None:
        """See `Bus.stop`."""

    def is_whole(self, _replica: bytes) -> bool:
        """See `Bus.is_whole`."""
        return True

    async def subscribe(self, replica: bytes, topics: Iterable[bytes]) -> None:
        """See `Bus.subscribe`."""

    async def unsubscribe(self, replica: bytes, topics: Iterable[bytes]) -> None:
        """See `Bus.unsubscribe`."""

    def publish(self, replica: bytes, position: Position | None, events: Sequence[Published]) -> None:
        """See `Bus.publish`."""


class LogOnlyBus(LocalBus):
    """No bus between replicas of which there may be several: they find in the log what others committed, and
    nothing that is not logged."""

    is_shared = True
    look_seconds = LOOK_SECONDS_WITHOUT_BUS

    def is_whole(self, _replica: bytes) -> bool:
        """See `Bus.is_whole`."""
        return False


class InProcessBus:
    """The bus between replicas of one process."""

    is_shared = True
    look_seconds = LOOK_SECONDS

    def __init__(self) -> None:
        self._receivers: dict[bytes, Receive] = {}
        self._topics: dict[bytes, set[bytes]] = {}

    async def start(self, replica: bytes, receive: Receive, _lost: Lost) -> None:
        """See `Bus.start`."""
        self._receivers[replica] = receive
        self._topics[replica] = set()

    async def stop(self, replica: bytes) -> None:
        """See `Bus.stop`."""
        self._receivers.pop(replica, None)
        self._topics.pop(replica, None)

    def is_whole(self, _replica: bytes) -> bool:
        """See `Bus.is_whole`."""
        return True

    async def subscribe(self, replica: bytes, topics: Iterable[bytes]) -> None:
        """See `Bus.subscribe`."""
        self._topics[replica].update(topics)

    async def unsubscribe(self, replica: bytes, topics: Iterable[bytes]) -> None:
        """See `Bus.unsubscribe`."""
        self._topics[replica].difference_update(topics)

    def publish(self, replica: bytes, position: Position | None, events: Sequence[Published]) -> None:
        """See `Bus.publish`."""
        for other, receive in self._receivers.items():
            if other == replica:
                continue
            topics = self._topics[other]
            wanted = [event for about, event in events if not topics.isdisjoint(about)]
            if wanted or position is not None:
                receive(position, wanted)
