"""What companions are told of who came and who went."""

import asyncio
import time

import pytest
from sqlalchemy import select, text

from palaver.contracts.ids import new_id
from palaver.messenger.events import PresenceChanged
from palaver.messenger.realtime import presence_updates as module
from palaver.messenger.realtime.presence import LIFETIME_SECONDS, InProcessPresence
from palaver.messenger.store.commit_log import read_after
from palaver.messenger.store.schema import presence
from tests.harness.gateway_stream import GatewayStream, gateway_stream
from tests.harness.messenger_database import MessengerDatabase
from tests.harness.realtime import Cluster, running_replica
from tests.harness.waiting import eventually

ALICE, BOB, CAROL = new_id(), new_id(), new_id()


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who goes is gone soon."""
    monkeypatch.setattr(module, "GONE_SECONDS", 0.05)


def states(gateway: GatewayStream, socket: int, user_id: bytes) -> list[bool]:
    """Whether a user is online, each time that a socket was told."""
    return [
        one.online for one in gateway.all("presences") if one.user_id == user_id and socket in one.sockets
    ]


def stored(messenger_db: MessengerDatabase, user_id: bytes) -> bool | None:
    """Whether a user is stored as online; None: they never were."""
    query = select(presence.c.online).where(presence.c.user_id == user_id)
    online: bool | None = messenger_db.write(lambda c: c.execute(query).scalar())
    return online


async def test_companions_alone_are_told_who_comes_and_goes(messenger_db: MessengerDatabase) -> None:
    """Nobody would be shown as online, or strangers would see it (promise P5)."""
    messenger_db.direct(ALICE, BOB)
    messenger_db.group([BOB, CAROL])
    async with (
        running_replica(messenger_db) as replica,
        gateway_stream(replica, messenger_db.keys) as gateway,
    ):
        alice, carol = await gateway.open(ALICE), await gateway.open(CAROL)
        bob = await gateway.open(BOB)
        await eventually(lambda: set(states(gateway, alice, BOB)) == {True}, "online")
        # Who comes gets who is there; maybe twice, where the two come together
        await eventually(lambda: set(states(gateway, bob, ALICE)) == {True}, "the other side")
        gateway.write(closes=[bob])
        await eventually(lambda: states(gateway, alice, BOB)[-1:] == [False], "offline")
        assert states(gateway, carol, BOB) == []
        assert stored(messenger_db, BOB) is False


async def test_one_of_two_sockets_that_closes_is_no_news(messenger_db: MessengerDatabase) -> None:
    """Somebody with two devices would go offline with one of them."""
    messenger_db.direct(ALICE, BOB)
    async with (
        running_replica(messenger_db) as replica,
        gateway_stream(replica, messenger_db.keys) as gateway,
    ):
        alice = await gateway.open(ALICE)
        one, two = await gateway.open(BOB), await gateway.open(BOB)
        gateway.write(closes=[one])
        await asyncio.sleep(0.2)
        assert states(gateway, alice, BOB) == [True]
        gateway.write(closes=[two])
        await eventually(lambda: states(gateway, alice, BOB) == [True, False], "offline")


async def test_a_socket_that_closes_here_is_no_news_while_one_is_open_elsewhere(
    messenger_db: MessengerDatabase,
) -> None:
    """Somebody with a phone at one replica and a desk at another would go offline with one of them."""
    messenger_db.direct(ALICE, BOB)
    cluster = Cluster()
    async with (
        running_replica(messenger_db, cluster) as first,
        running_replica(messenger_db, cluster) as second,
        gateway_stream(first, messenger_db.keys) as near,
        gateway_stream(second, messenger_db.keys) as far,
    ):
        watching = [(near, await near.open(ALICE)), (far, await far.open(ALICE))]
        phone, desk = await near.open(BOB), await far.open(BOB)
        for gateway, socket in watching:
            await eventually(lambda g=gateway, s=socket: True in states(g, s, BOB), "online")
        near.write(closes=[phone])
        await asyncio.sleep(0.3)
        for gateway, socket in watching:
            assert False not in states(gateway, socket, BOB)
        assert stored(messenger_db, BOB) is True
        far.write(closes=[desk])
        for gateway, socket in watching:
            await eventually(lambda g=gateway, s=socket: states(g, s, BOB)[-1] is False, "offline")
        await asyncio.sleep(0.1)
        for gateway, socket in watching:
            assert states(gateway, socket, BOB).count(False) == 1
        assert stored(messenger_db, BOB) is False


async def test_each_change_is_logged_once_whoever_notices_it(messenger_db: MessengerDatabase) -> None:
    """Gateways that were cut off would be told of the same coming by each replica."""
    messenger_db.direct(ALICE, BOB)
    cluster = Cluster()
    async with (
        running_replica(messenger_db, cluster) as first,
        running_replica(messenger_db, cluster) as second,
        gateway_stream(first, messenger_db.keys) as near,
        gateway_stream(second, messenger_db.keys) as far,
    ):
        sockets = [(near, await near.open(BOB)), (far, await far.open(BOB))]
        await eventually(lambda: stored(messenger_db, BOB), "online")
        for gateway, socket in sockets:
            gateway.write(closes=[socket])
        await eventually(lambda: stored(messenger_db, BOB) is False, "offline")
        await asyncio.sleep(0.1)
        logged = [entry for commit in messenger_db.write(read_after, {}, 100) for entry in commit.entries]
        assert [one.online for one in logged if isinstance(one, PresenceChanged)] == [True, False]


async def test_a_restart_is_no_news(messenger_db: MessengerDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each update would show everybody as offline for a moment."""
    monkeypatch.setattr(module, "RETURN_SECONDS", 0.2)
    messenger_db.direct(ALICE, BOB)
    async with (
        running_replica(messenger_db) as replica,
        gateway_stream(replica, messenger_db.keys) as gateway,
    ):
        await gateway.open(BOB)
        await eventually(lambda: stored(messenger_db, BOB), "online")
    assert stored(messenger_db, BOB) is True
    async with (
        running_replica(messenger_db) as replica,
        gateway_stream(replica, messenger_db.keys) as gateway,
    ):
        alice = await gateway.open(ALICE)
        await gateway.open(BOB, opened_at=1)
        await asyncio.sleep(0.4)
        assert False not in states(gateway, alice, BOB)
        assert stored(messenger_db, BOB) is True


async def test_who_does_not_come_back_after_a_restart_is_gone(
    messenger_db: MessengerDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody would be online for ever whose connection ended with a messenger that was killed."""
    monkeypatch.setattr(module, "RETURN_SECONDS", 0.1)
    messenger_db.direct(ALICE, BOB)
    async with (
        running_replica(messenger_db) as replica,
        gateway_stream(replica, messenger_db.keys) as gateway,
    ):
        await gateway.open(BOB)
        await eventually(lambda: stored(messenger_db, BOB), "online")
    async with (
        running_replica(messenger_db) as replica,
        gateway_stream(replica, messenger_db.keys) as gateway,
    ):
        alice = await gateway.open(ALICE)
        await eventually(lambda: stored(messenger_db, BOB) is False, "offline")
        await eventually(lambda: states(gateway, alice, BOB)[-1:] == [False], "told")


async def test_the_users_of_a_replica_that_was_killed_are_gone_with_it(
    messenger_db: MessengerDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would be online for ever, until some other replica starts."""
    monkeypatch.setattr(module, "RETURN_SECONDS", 0.05)
    monkeypatch.setattr(module, "REFRESH_SECONDS", 0.05)
    messenger_db.direct(ALICE, BOB)
    cluster, ahead = Cluster(), 0.0
    cluster.presence = InProcessPresence(lambda: time.monotonic() + ahead)
    async with (
        running_replica(messenger_db, cluster) as living,
        gateway_stream(living, messenger_db.keys) as gateway,
    ):
        alice = await gateway.open(ALICE)
        async with (
            running_replica(messenger_db, cluster) as killed,
            gateway_stream(killed, messenger_db.keys) as other,
        ):
            await other.open(BOB)
            await eventually(lambda: states(gateway, alice, BOB)[-1:] == [True], "online")
            # A stop leaves its users' entries as a kill does: their gateways come back
        await asyncio.sleep(0.2)
        assert stored(messenger_db, BOB) is True
        ahead = LIFETIME_SECONDS + 1
        await eventually(lambda: states(gateway, alice, BOB)[-1:] == [False], "offline", seconds=5)
        assert stored(messenger_db, ALICE) is True


async def test_who_came_while_the_disk_was_away_is_online_soon(
    messenger_db: MessengerDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever connected in a bad moment would be shown as offline until they connect again."""
    monkeypatch.setattr(module, "RETURN_SECONDS", 0.1)
    monkeypatch.setattr(module, "REFRESH_SECONDS", 0.1)
    messenger_db.direct(ALICE, BOB)
    async with (
        running_replica(messenger_db) as replica,
        gateway_stream(replica, messenger_db.keys) as gateway,
    ):
        alice = await gateway.open(ALICE)
        await eventually(lambda: stored(messenger_db, ALICE), "online")
        messenger_db.write(lambda c: c.execute(text("ALTER TABLE presence RENAME TO away")))
        await gateway.open(BOB)
        await asyncio.sleep(0.1)
        messenger_db.write(lambda c: c.execute(text("ALTER TABLE away RENAME TO presence")))
        await eventually(lambda: states(gateway, alice, BOB) == [True], "online", seconds=5)


async def test_who_is_announced_by_a_replica_where_they_are_not(messenger_db: MessengerDatabase) -> None:
    """Users of a killed replica would stay online for all who are not at the one that noticed."""
    messenger_db.direct(ALICE, BOB)
    cluster = Cluster()
    async with (
        running_replica(messenger_db, cluster) as one,
        running_replica(messenger_db, cluster) as two,
        gateway_stream(two, messenger_db.keys) as gateway,
    ):
        alice = await gateway.open(ALICE)
        for online in (True, False):
            one.engine.committers.submit_presence(BOB, online, 1)
            await eventually(lambda online=online: states(gateway, alice, BOB)[-1:] == [online], "announced")
