"""What every bus promises to the replicas that it connects."""

from collections.abc import Callable, Sequence

import pytest

from palaver.contracts.ids import new_id
from palaver.messenger.events import Event, MessageChanged, Position, Typing
from palaver.messenger.realtime.bus import Bus, InProcessBus, LocalBus, Published

CHAT, OTHER, USER = new_id(), new_id(), new_id()
ONE, TWO, THREE = new_id(), new_id(), new_id()

ADAPTERS: list[Callable[[], Bus]] = [InProcessBus, LocalBus]
SHARED: list[Callable[[], Bus]] = [InProcessBus]


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
        await bus.start(replica, inbox)
    return inboxes


def changed(chat_id: bytes, seq: int) -> Published:
    """An event of a chat."""
    return Published((chat_id,), MessageChanged(chat_id, seq))


@pytest.mark.parametrize("make", ADAPTERS)
async def test_any_bus_can_be_used_alone(make: Callable[[], Bus]) -> None:
    """A messenger without others would not start, or receive its own events."""
    bus = make()
    (inbox,) = await joined(bus, ONE)
    await bus.subscribe(ONE, [CHAT, USER])
    bus.publish(ONE, Position(1, 1), [changed(CHAT, 1)])
    bus.publish(ONE, None, [Published((CHAT,), Typing(CHAT, USER))])
    await bus.unsubscribe(ONE, [CHAT, OTHER])
    await bus.stop(ONE)
    await bus.stop(ONE)
    assert inbox.received == []


def test_a_bus_says_whether_it_is_shared() -> None:
    """A messenger without others would subscribe for nothing, or one with others miss what they write."""
    assert InProcessBus().is_shared
    assert not LocalBus().is_shared


@pytest.mark.parametrize("make", SHARED)
async def test_subscribers_alone_receive_an_event(make: Callable[[], Bus]) -> None:
    """Replicas would read what concerns none of their sockets, or miss what does."""
    bus = make()
    one, two, three = await joined(bus, ONE, TWO, THREE)
    await bus.subscribe(TWO, [CHAT])
    await bus.subscribe(THREE, [OTHER])
    bus.publish(ONE, Position(1, 1), [changed(CHAT, 1), changed(OTHER, 2)])
    assert one.received == []
    assert two.received == [(Position(1, 1), [MessageChanged(CHAT, 1)])]
    assert three.received == [(Position(1, 1), [MessageChanged(OTHER, 2)])]


@pytest.mark.parametrize("make", SHARED)
async def test_all_count_the_numbers_of_a_writer(make: Callable[[], Bus]) -> None:
    """A replica would take what does not concern it for lost, and read the log."""
    bus = make()
    _, two = await joined(bus, ONE, TWO)
    await bus.subscribe(TWO, [CHAT])
    for number, chat_id in enumerate([OTHER, CHAT, OTHER], start=1):
        bus.publish(ONE, Position(1, number), [changed(chat_id, number)])
    assert two.received == [
        (Position(1, 1), []),
        (Position(1, 2), [MessageChanged(CHAT, 2)]),
        (Position(1, 3), []),
    ]


@pytest.mark.parametrize("make", SHARED)
async def test_what_is_not_committed_reaches_subscribers_alone(make: Callable[[], Bus]) -> None:
    """Each key that somebody presses would wake all replicas."""
    bus = make()
    _, two, three = await joined(bus, ONE, TWO, THREE)
    await bus.subscribe(TWO, [CHAT])
    bus.publish(ONE, None, [Published((CHAT,), Typing(CHAT, USER))])
    assert two.received == [(None, [Typing(CHAT, USER)])]
    assert three.received == []


@pytest.mark.parametrize("make", SHARED)
async def test_an_event_with_several_topics_comes_once(make: Callable[[], Bus]) -> None:
    """Somebody who shares several chats with a user would be shown each coming and going several times."""
    bus = make()
    _, two = await joined(bus, ONE, TWO)
    await bus.subscribe(TWO, [CHAT, OTHER])
    await bus.subscribe(TWO, [CHAT, USER])
    bus.publish(ONE, Position(1, 1), [Published((CHAT, OTHER, USER), MessageChanged(CHAT, 1))])
    assert two.received == [(Position(1, 1), [MessageChanged(CHAT, 1)])]


@pytest.mark.parametrize("make", SHARED)
async def test_who_unsubscribed_or_left_receives_nothing(make: Callable[[], Bus]) -> None:
    """A replica would go on reading for users who have gone, or be called after it stopped."""
    bus = make()
    _, two, three = await joined(bus, ONE, TWO, THREE)
    await bus.subscribe(TWO, [CHAT, OTHER])
    await bus.subscribe(THREE, [CHAT])
    await bus.unsubscribe(TWO, [CHAT, USER])
    await bus.stop(THREE)
    bus.publish(ONE, Position(1, 1), [changed(CHAT, 1), changed(OTHER, 2)])
    assert two.received == [(Position(1, 1), [MessageChanged(OTHER, 2)])]
    assert three.received == []
    # Who comes back begins without subscriptions
    (three,) = await joined(bus, THREE)
    bus.publish(ONE, Position(1, 2), [changed(CHAT, 3)])
    assert three.received == [(Position(1, 2), [])]


@pytest.mark.parametrize("make", SHARED)
async def test_a_replicas_events_arrive_in_order(make: Callable[[], Bus]) -> None:
    """Receipts would go back, and members be shown as they were."""
    bus = make()
    _, two, three = await joined(bus, ONE, TWO, THREE)
    for replica in (TWO, THREE):
        await bus.subscribe(replica, [CHAT])
    for number in range(1, 51):
        bus.publish(ONE, Position(1, number), [changed(CHAT, number)])
    for inbox in (two, three):
        assert [position.number for position, _ in inbox.received if position] == list(range(1, 51))
