"""What every bus promises to the replicas that it connects."""

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager

import pytest
import pytest_asyncio

from palaver.contracts.ids import new_id
from palaver.messenger.events import Event, MessageChanged, Position, Typing
from palaver.messenger.realtime.bus import Bus, InProcessBus, LocalBus, Published
from palaver.messenger.realtime.redis.bus import RedisBus
from tests.harness.redis import RedisServer, redis_client
from tests.harness.waiting import eventually

CHAT, OTHER, USER = new_id(), new_id(), new_id()
ONE, TWO, THREE = new_id(), new_id(), new_id()

MakeBus = Callable[[pytest.FixtureRequest], AbstractAsyncContextManager[Bus]]


@contextlib.asynccontextmanager
async def in_process(_: pytest.FixtureRequest) -> AsyncIterator[Bus]:
    """Of replicas of one process."""
    yield InProcessBus()


@contextlib.asynccontextmanager
async def alone(_: pytest.FixtureRequest) -> AsyncIterator[Bus]:
    """Of one replica."""
    yield LocalBus()


@contextlib.asynccontextmanager
async def over_redis(request: pytest.FixtureRequest) -> AsyncIterator[Bus]:
    """Of replicas anywhere."""
    server: RedisServer = request.getfixturevalue("redis_server")
    async with redis_client(server) as client:
        bus = RedisBus(client)
        try:
            yield bus
        finally:
            for replica in (ONE, TWO, THREE):
                await bus.stop(replica)


SHARED: dict[str, MakeBus] = {"in-process": in_process, "redis": over_redis}
ADAPTERS: dict[str, MakeBus] = {**SHARED, "alone": alone}


@pytest_asyncio.fixture(params=SHARED)
async def bus(request: pytest.FixtureRequest) -> AsyncIterator[Bus]:
    """A bus that replicas share."""
    async with SHARED[request.param](request) as bus:
        yield bus


@pytest_asyncio.fixture(params=ADAPTERS)
async def any_bus(request: pytest.FixtureRequest) -> AsyncIterator[Bus]:
    """A bus."""
    async with ADAPTERS[request.param](request) as bus:
        yield bus


class Inbox:
    """What one replica receives."""

    def __init__(self) -> None:
        self.received: list[tuple[Position | None, list[Event]]] = []

    def __call__(self, position: Position | None, events: Sequence[Event]) -> None:
        self.received.append((position, list(events)))


async def joined(bus: Bus, *replicas: bytes) -> list[Inbox]:
    """The inboxes of replicas that take part now."""
    inboxes = [Inbox() for _ in replicas]
    for replica, inbox in zip(replicas, inboxes, strict=True):
        await bus.start(replica, inbox, lambda: None)
    return inboxes


async def settle(bus: Bus, sender: bytes, *inboxes: Inbox) -> None:
    """Waits until all that the sender has published so far has come to others, and forgets what it takes to
    know that."""
    last = Position(99, len(inboxes[0].received) + 1)
    bus.publish(sender, last, [])
    for inbox in inboxes:
        await eventually(lambda inbox=inbox: (last, []) in inbox.received, "published")
        inbox.received.remove((last, []))


def changed(chat_id: bytes, seq: int) -> Published:
    """An event of a chat."""
    return Published((chat_id,), MessageChanged(chat_id, seq))


async def test_any_bus_can_be_used_alone(any_bus: Bus) -> None:
    """A messenger without others would not start, or receive its own events."""
    bus = any_bus
    (inbox,) = await joined(bus, ONE)
    await bus.subscribe(ONE, [CHAT, USER])
    bus.publish(ONE, Position(1, 1), [changed(CHAT, 1)])
    bus.publish(ONE, None, [Published((CHAT,), Typing(CHAT, USER))])
    await bus.unsubscribe(ONE, [CHAT, OTHER])
    assert bus.is_whole(ONE)
    await bus.stop(ONE)
    await bus.stop(ONE)
    assert inbox.received == []


def test_a_bus_says_whether_it_is_shared() -> None:
    """A messenger without others would subscribe for nothing, or one with others miss what they write."""
    assert InProcessBus.is_shared
    assert RedisBus.is_shared
    assert not LocalBus.is_shared


async def test_subscribers_alone_receive_an_event(bus: Bus) -> None:
    """Replicas would read what concerns none of their sockets, or miss what does."""
    one, two, three = await joined(bus, ONE, TWO, THREE)
    await bus.subscribe(TWO, [CHAT])
    await bus.subscribe(THREE, [OTHER])
    bus.publish(ONE, Position(1, 1), [changed(CHAT, 1), changed(OTHER, 2)])
    await settle(bus, ONE, two, three)
    assert one.received == []
    assert two.received == [(Position(1, 1), [MessageChanged(CHAT, 1)])]
    assert three.received == [(Position(1, 1), [MessageChanged(OTHER, 2)])]


async def test_all_count_the_numbers_of_a_writer(bus: Bus) -> None:
    """A replica would take what does not concern it for lost, and read the log."""
    _, two = await joined(bus, ONE, TWO)
    await bus.subscribe(TWO, [CHAT])
    for number, chat_id in enumerate([OTHER, CHAT, OTHER], start=1):
        bus.publish(ONE, Position(1, number), [changed(chat_id, number)])
    await settle(bus, ONE, two)
    assert two.received == [
        (Position(1, 1), []),
        (Position(1, 2), [MessageChanged(CHAT, 2)]),
        (Position(1, 3), []),
    ]


async def test_what_is_not_committed_reaches_subscribers_alone(bus: Bus) -> None:
    """Each key that somebody presses would wake all replicas."""
    _, two, three = await joined(bus, ONE, TWO, THREE)
    await bus.subscribe(TWO, [CHAT])
    bus.publish(ONE, None, [Published((CHAT,), Typing(CHAT, USER))])
    await settle(bus, ONE, two, three)
    assert two.received == [(None, [Typing(CHAT, USER)])]
    assert three.received == []


async def test_an_event_with_several_topics_comes_once(bus: Bus) -> None:
    """Somebody who shares several chats with a user would be shown each coming and going several times."""
    _, two = await joined(bus, ONE, TWO)
    await bus.subscribe(TWO, [CHAT, OTHER])
    await bus.subscribe(TWO, [CHAT, USER])
    bus.publish(ONE, Position(1, 1), [Published((CHAT, OTHER, USER), MessageChanged(CHAT, 1))])
    await settle(bus, ONE, two)
    assert two.received == [(Position(1, 1), [MessageChanged(CHAT, 1)])]


async def test_who_unsubscribed_or_left_receives_nothing(bus: Bus) -> None:
    """A replica would go on reading for users who have gone, or be called after it stopped."""
    _, two, three = await joined(bus, ONE, TWO, THREE)
    await bus.subscribe(TWO, [CHAT, OTHER])
    await bus.subscribe(THREE, [CHAT])
    await bus.unsubscribe(TWO, [CHAT, USER])
    await bus.stop(THREE)
    bus.publish(ONE, Position(1, 1), [changed(CHAT, 1), changed(OTHER, 2)])
    await settle(bus, ONE, two)
    assert two.received == [(Position(1, 1), [MessageChanged(OTHER, 2)])]
    assert three.received == []
    # Who comes back begins without subscriptions
    (three,) = await joined(bus, THREE)
    bus.publish(ONE, Position(1, 2), [changed(CHAT, 3)])
    await settle(bus, ONE, three)
    assert three.received == [(Position(1, 2), [])]


async def test_a_replicas_events_arrive_in_order(bus: Bus) -> None:
    """Receipts would go back, and members be shown as they were."""
    _, two, three = await joined(bus, ONE, TWO, THREE)
    for replica in (TWO, THREE):
        await bus.subscribe(replica, [CHAT])
    for number in range(1, 51):
        bus.publish(ONE, Position(1, number), [changed(CHAT, number)])
    await settle(bus, ONE, two, three)
    for inbox in (two, three):
        assert [position.number for position, _ in inbox.received if position] == list(range(1, 51))
