"""What companions are told of who came and who went."""

import asyncio
import time

import pytest
from sqlalchemy import select

from palaver.contracts.ids import new_id
from palaver.messenger.events import PresenceChanged
from palaver.messenger.realtime import presence_updates as module
from palaver.messenger.realtime.presence import LIFETIME_SECONDS, InProcessPresence
from palaver.messenger.store.commit_log import read_after
from palaver.messenger.store.schema import presence
from tests.harness.gateway_stream import GatewayStream, gateway_stream
from tests.harness.realtime import Cluster, Place, eventually, running_replica

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


def stored(place: Place, user_id: bytes) -> bool | None:
    """Whether a user is stored as online; None: they never were."""
    query = select(presence.c.online).where(presence.c.user_id == user_id)
    online: bool | None = place.write(lambda c: c.execute(query).scalar())
    return online


async def test_companions_alone_are_told_who_comes_and_goes(place: Place) -> None:
    """Nobody would be shown as online, or strangers would see it (promise P5)."""
    place.direct(ALICE, BOB)
    place.group([BOB, CAROL])
    async with running_replica(place) as replica, gateway_stream(replica, place.keys) as gateway:
        alice, carol = await gateway.open(ALICE), await gateway.open(CAROL)
        bob = await gateway.open(BOB)
        await eventually(lambda: set(states(gateway, alice, BOB)) == {True}, "online")
        # Who comes gets who is there; maybe twice, where the two come together
        await eventually(lambda: set(states(gateway, bob, ALICE)) == {True}, "the other side")
        gateway.say(closes=[bob])
        await eventually(lambda: states(gateway, alice, BOB)[-1:] == [False], "offline")
        assert states(gateway, carol, BOB) == []
        assert stored(place, BOB) is False


async def test_one_of_two_sockets_that_closes_is_no_news(place: Place) -> None:
    """Somebody with two devices would go offline with one of them."""
    place.direct(ALICE, BOB)
    async with running_replica(place) as replica, gateway_stream(replica, place.keys) as gateway:
        alice = await gateway.open(ALICE)
        one, two = await gateway.open(BOB), await gateway.open(BOB)
        gateway.say(closes=[one])
        await asyncio.sleep(0.2)
        assert states(gateway, alice, BOB) == [True]
        gateway.say(closes=[two])
        await eventually(lambda: states(gateway, alice, BOB) == [True, False], "offline")


async def test_a_socket_that_closes_here_is_no_news_while_one_is_open_elsewhere(place: Place) -> None:
    """Somebody with a phone at one replica and a desk at another would go offline with one of them."""
    place.direct(ALICE, BOB)
    cluster = Cluster()
    async with (
        running_replica(place, cluster) as first,
        running_replica(place, cluster) as second,
        gateway_stream(first, place.keys) as near,
        gateway_stream(second, place.keys) as far,
    ):
        watching = [(near, await near.open(ALICE)), (far, await far.open(ALICE))]
        phone, desk = await near.open(BOB), await far.open(BOB)
        for gateway, socket in watching:
            await eventually(lambda g=gateway, s=socket: True in states(g, s, BOB), "online")
        near.say(closes=[phone])
        await asyncio.sleep(0.3)
        for gateway, socket in watching:
            assert False not in states(gateway, socket, BOB)
        assert stored(place, BOB) is True
        far.say(closes=[desk])
        for gateway, socket in watching:
            await eventually(lambda g=gateway, s=socket: states(g, s, BOB)[-1] is False, "offline")
        await asyncio.sleep(0.1)
        for gateway, socket in watching:
            assert states(gateway, socket, BOB).count(False) == 1
        assert stored(place, BOB) is False


async def test_each_change_is_logged_once_whoever_notices_it(place: Place) -> None:
    """Gateways that were cut off would be told of the same coming by each replica."""
    place.direct(ALICE, BOB)
    cluster = Cluster()
    async with (
        running_replica(place, cluster) as first,
        running_replica(place, cluster) as second,
        gateway_stream(first, place.keys) as near,
        gateway_stream(second, place.keys) as far,
    ):
        sockets = [(near, await near.open(BOB)), (far, await far.open(BOB))]
        await eventually(lambda: stored(place, BOB), "online")
        for gateway, socket in sockets:
            gateway.say(closes=[socket])
        await eventually(lambda: stored(place, BOB) is False, "offline")
        await asyncio.sleep(0.1)
        logged = [entry for commit in place.write(read_after, {}, 100) for entry in commit.entries]
        assert [one.online for one in logged if isinstance(one, PresenceChanged)] == [True, False]


async def test_a_restart_is_no_news(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each update would show everybody as offline for a moment."""
    monkeypatch.setattr(module, "RETURN_SECONDS", 0.2)
    place.direct(ALICE, BOB)
    async with running_replica(place) as replica, gateway_stream(replica, place.keys) as gateway:
        await gateway.open(BOB)
        await eventually(lambda: stored(place, BOB), "online")
    assert stored(place, BOB) is True
    async with running_replica(place) as replica, gateway_stream(replica, place.keys) as gateway:
        alice = await gateway.open(ALICE)
        await gateway.open(BOB, opened_at=1)
        await asyncio.sleep(0.4)
        assert False not in states(gateway, alice, BOB)
        assert stored(place, BOB) is True


async def test_who_does_not_come_back_after_a_restart_is_gone(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody would be online for ever whose connection ended with a messenger that was killed."""
    monkeypatch.setattr(module, "RETURN_SECONDS", 0.1)
    place.direct(ALICE, BOB)
    async with running_replica(place) as replica, gateway_stream(replica, place.keys) as gateway:
        await gateway.open(BOB)
        await eventually(lambda: stored(place, BOB), "online")
    async with running_replica(place) as replica, gateway_stream(replica, place.keys) as gateway:
        alice = await gateway.open(ALICE)
        await eventually(lambda: stored(place, BOB) is False, "offline")
        await eventually(lambda: states(gateway, alice, BOB)[-1:] == [False], "told")


async def test_the_users_of_a_replica_that_was_killed_are_gone_with_it(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would be online for ever, until some other replica starts."""
    monkeypatch.setattr(module, "RETURN_SECONDS", 0.05)
    monkeypatch.setattr(module, "REFRESH_SECONDS", 0.05)
    place.direct(ALICE, BOB)
    cluster, ahead = Cluster(), 0.0
    cluster.presence = InProcessPresence(lambda: time.monotonic() + ahead)
    async with (
        running_replica(place, cluster) as living,
        gateway_stream(living, place.keys) as gateway,
    ):
        alice = await gateway.open(ALICE)
        async with running_replica(place, cluster) as killed, gateway_stream(killed, place.keys) as other:
            await other.open(BOB)
            await eventually(lambda: states(gateway, alice, BOB)[-1:] == [True], "online")
            # A stop leaves its users' entries as a kill does: their gateways come back
        await asyncio.sleep(0.2)
        assert stored(place, BOB) is True
        ahead = LIFETIME_SECONDS + 1
        await eventually(lambda: states(gateway, alice, BOB)[-1:] == [False], "offline", seconds=5)
        assert stored(place, ALICE) is True
