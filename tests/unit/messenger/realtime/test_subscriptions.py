"""What a replica subscribes to."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest_asyncio

from palaver.contracts.ids import new_id
from palaver.messenger.events import MembersChanged
from palaver.messenger.realtime.bus import Bus, InProcessBus, LocalBus
from palaver.messenger.realtime.followed import FollowedPositions
from palaver.messenger.realtime.memberships import Memberships
from palaver.messenger.realtime.subscriptions import ALL_REPLICAS, Subscriptions
from palaver.runtime.sql.sqlite import SqliteDatabase
from tests.harness.messenger_database import MessengerDatabase

ALICE, BOB, CAROL = new_id(), new_id(), new_id()
REPLICA = new_id()


class NotedBus(InProcessBus):
    """A bus whose topics can be looked at."""

    @property
    def topics(self) -> set[bytes]:
        """What the replica is subscribed to."""
        return self._topics[REPLICA]


def new_subscriptions(bus: Bus, database: Any) -> Subscriptions:
    """Those of a replica that has no chat in memory."""
    memberships = Memberships(database, FollowedPositions(), 10, is_shared=bus.is_shared)
    return Subscriptions(bus, REPLICA, database, memberships)


@pytest_asyncio.fixture
async def bus() -> NotedBus:
    """A bus with one replica."""
    bus = NotedBus()
    await bus.start(REPLICA, lambda _position, _events: None, lambda: None)
    return bus


async def test_a_users_chats_are_subscribed_to_while_they_are_here(
    messenger_db: MessengerDatabase, database: SqliteDatabase, bus: NotedBus
) -> None:
    """Users would miss what other replicas write, or a replica go on reading for those who have gone."""
    shared, own = messenger_db.direct(ALICE, BOB), messenger_db.group([ALICE, CAROL])
    messenger_db.direct(BOB, CAROL)
    subscriptions = new_subscriptions(bus, database)
    await subscriptions.add_users([ALICE])
    assert bus.topics == {ALICE, shared, own} == {ALICE, *subscriptions.topics_of(ALICE)}
    await subscriptions.remove_user(ALICE)
    await subscriptions.remove_user(ALICE)
    assert bus.topics == set()
    assert subscriptions.topics_of(ALICE) == {ALL_REPLICAS}


async def test_a_chat_of_two_users_stays_until_both_have_gone(
    messenger_db: MessengerDatabase, database: SqliteDatabase, bus: NotedBus
) -> None:
    """Somebody would hear nothing more of a chat whose other side has left this replica."""
    shared = messenger_db.direct(ALICE, BOB)
    subscriptions = new_subscriptions(bus, database)
    for user_id in (ALICE, BOB, ALICE):
        await subscriptions.add_users([user_id])
    await subscriptions.remove_user(ALICE)
    assert bus.topics == {BOB, shared}
    await subscriptions.remove_user(BOB)
    assert bus.topics == set()


async def test_a_chat_that_is_joined_is_followed(
    messenger_db: MessengerDatabase, database: SqliteDatabase, bus: NotedBus
) -> None:
    """Somebody who is added to a group would hear nothing of it until they connect again."""
    subscriptions = new_subscriptions(bus, database)
    await subscriptions.add_users([ALICE])
    group = messenger_db.group([BOB, ALICE])
    joined = MembersChanged(group, (ALICE, CAROL))
    assert subscriptions.concerns(joined)
    await subscriptions.follow(joined)
    await subscriptions.follow(joined)
    assert bus.topics == {ALICE, group}
    others = MembersChanged(new_id(), (BOB, CAROL))
    assert not subscriptions.concerns(others)
    await subscriptions.follow(others)
    assert bus.topics == {ALICE, group}
    await subscriptions.remove_user(ALICE)
    assert bus.topics == set()


class SlowDatabase:
    """Answers reads when it is let."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database
        self.reads = 0
        self.may_answer = asyncio.Event()

    async def read(self, work: Callable[..., Any], *args: Any) -> Any:
        """See `Database.read`."""
        self.reads += 1
        found = await self._database.read(work, *args)
        await self.may_answer.wait()
        return found


async def test_a_chat_that_is_joined_while_chats_are_read_is_followed(
    messenger_db: MessengerDatabase, database: SqliteDatabase, bus: NotedBus
) -> None:
    """Somebody who is added to a group while they connect would hear nothing of it."""
    slow = SlowDatabase(database)
    subscriptions = new_subscriptions(bus, slow)
    adding = asyncio.create_task(subscriptions.add_users([ALICE]))
    await asyncio.sleep(0.02)
    group = messenger_db.group([BOB, ALICE])
    # Its event arrives: the user was subscribed to first
    assert bus.topics == {ALICE}
    await subscriptions.follow(MembersChanged(group, (ALICE,)))
    slow.may_answer.set()
    await adding
    assert bus.topics == {ALICE, group}


async def test_a_second_socket_waits_for_the_firsts_subscriptions(
    messenger_db: MessengerDatabase, database: SqliteDatabase, bus: NotedBus
) -> None:
    """Of two sockets that open at once the second would miss what is written until the first is ready."""
    shared = messenger_db.direct(ALICE, BOB)
    slow = SlowDatabase(database)
    subscriptions = new_subscriptions(bus, slow)
    opening = [asyncio.create_task(subscriptions.add_users([ALICE])) for _ in range(2)]
    await asyncio.sleep(0.02)
    assert not any(task.done() for task in opening)
    slow.may_answer.set()
    await asyncio.gather(*opening)
    assert bus.topics == {ALICE, shared}
    assert slow.reads == 1


async def test_users_who_come_together_are_read_together(
    messenger_db: MessengerDatabase, database: SqliteDatabase, bus: NotedBus
) -> None:
    """A gateway that comes from another replica would cost a read a user."""
    shared, own = messenger_db.direct(ALICE, BOB), messenger_db.group([BOB, CAROL])
    reading = SlowDatabase(database)
    reading.may_answer.set()
    subscriptions = new_subscriptions(bus, reading)
    await subscriptions.add_users([ALICE, BOB, BOB, CAROL])
    assert bus.topics == {ALICE, BOB, CAROL, shared, own}
    assert reading.reads == 1


async def test_who_goes_while_others_are_added_is_added_again(
    messenger_db: MessengerDatabase, database: SqliteDatabase, bus: NotedBus
) -> None:
    """A socket whose user's last one closed just now would open, and get nothing that others write."""
    shared = messenger_db.direct(ALICE, CAROL)
    slow = SlowDatabase(database)
    subscriptions = new_subscriptions(bus, slow)
    slow.may_answer.set()
    await subscriptions.add_users([ALICE])
    slow.may_answer.clear()
    adding = asyncio.create_task(subscriptions.add_users([ALICE, BOB]))
    await asyncio.sleep(0.02)
    await subscriptions.remove_user(ALICE)
    slow.may_answer.set()
    await adding
    assert bus.topics == {ALICE, BOB, shared}


async def test_alone_nothing_is_read(messenger_db: MessengerDatabase, database: SqliteDatabase) -> None:
    """Each first socket would cost a read that nobody needs."""
    messenger_db.direct(ALICE, BOB)
    slow = SlowDatabase(database)
    subscriptions = new_subscriptions(LocalBus(), slow)
    await subscriptions.add_users([ALICE])
    await subscriptions.remove_user(ALICE)
    assert slow.reads == 0
    assert not subscriptions.concerns(MembersChanged(new_id(), (ALICE,)))
