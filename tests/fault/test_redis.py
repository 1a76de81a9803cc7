"""Two messenger replicas whose Redis fails: what each of their sockets gets."""

import asyncio
import contextlib
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from palaver.contracts.ids import new_id
from palaver.messenger.realtime import presence_updates
from tests.harness.gateway_stream import GatewayStream, gateway_stream
from tests.harness.messenger_database import MessengerDatabase
from tests.harness.realtime import Replica, redis_cluster, running_replica
from tests.harness.redis import RedisServer, running_redis
from tests.harness.waiting import eventually

ALICE, BOB, CAROL = new_id(), new_id(), new_id()


async def kill(server: RedisServer) -> None:
    """Redis is killed, and started again with nothing in it."""
    server.kill()
    await asyncio.sleep(0.2)
    await asyncio.to_thread(server.start)


async def stall(server: RedisServer) -> None:
    """Redis stands still for longer than anybody waits for it: connections are half-open."""
    server.send_signal(signal.SIGSTOP)
    await asyncio.sleep(2.5)
    server.send_signal(signal.SIGCONT)


async def cut(server: RedisServer) -> None:
    """All connections are closed, again and again."""
    for _ in range(3):
        await asyncio.to_thread(server.kill_connections)
        await asyncio.sleep(0.05)


async def empty(server: RedisServer) -> None:
    """All that Redis knows is deleted, again and again."""
    for _ in range(5):
        await asyncio.to_thread(server.command, "FLUSHALL")
        await asyncio.sleep(random.random() / 10)


FAULTS = [kill, stall, cut, empty]


class Side:
    """One of two replicas, with a gateway's stream to it."""

    def __init__(self, replica: Replica, gateway: GatewayStream) -> None:
        self.replica = replica
        self.gateway = gateway

    def seqs(self, socket: int, chat_id: bytes) -> list[int]:
        """The seqs of a chat's messages that a socket received."""
        return [
            delivery.first_seq + index
            for delivery in self.gateway.deliveries_to(socket)
            if delivery.chat_id == chat_id and not delivery.changed
            for index in range(len(delivery.ids))
        ]

    def presences(self, user_id: bytes) -> list[bool]:
        """Whether a user is online, each time that this gateway got it."""
        return [one.online for one in self.gateway.all("presences") if one.user_id == user_id]


@contextlib.asynccontextmanager
async def running_side(messenger_db: MessengerDatabase, server: RedisServer) -> AsyncIterator[Side]:
    """A replica, with connections of its own to everything."""
    async with (
        redis_cluster(server) as cluster,
        running_replica(messenger_db, cluster) as replica,
        gateway_stream(replica, messenger_db.keys) as gateway,
    ):
        yield Side(replica, gateway)


@pytest.fixture(scope="module")
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis that may be harmed; each fault leaves it running."""
    with running_redis(tmp_path_factory.mktemp("own-redis")) as server:
        yield server


async def write(side: Side, chat_id: bytes, user_id: bytes, ended: asyncio.Event) -> int:
    """Sends one message after the other until `ended`. Returns how many."""
    sent = 0
    while not ended.is_set():
        await side.replica.engine.send(chat_id, user_id, [new_id()], [f"{sent}"], retry=False)
        sent += 1
        await asyncio.sleep(0.01)
    return sent


@pytest.mark.parametrize("fault", FAULTS)
async def test_no_message_is_lost_or_repeated(
    messenger_db: MessengerDatabase, own_redis: RedisServer, fault: Callable[[RedisServer], Awaitable[None]]
) -> None:
    """A Redis that fails would cost members of a chat messages, or show them twice or out of order."""
    chat_id = messenger_db.direct(ALICE, BOB)
    async with (
        running_side(messenger_db, own_redis) as one,
        running_side(messenger_db, own_redis) as two,
    ):
        alice, bob = await one.gateway.open(ALICE), await two.gateway.open(BOB)
        ended = asyncio.Event()
        writing = [
            asyncio.create_task(write(one, chat_id, ALICE, ended)),
            asyncio.create_task(write(two, chat_id, BOB, ended)),
        ]
        await asyncio.sleep(0.2)
        await fault(own_redis)
        # Somebody who comes meanwhile gets what is sent from now on
        carol_chat = messenger_db.direct(ALICE, CAROL)
        carol = await two.gateway.open(CAROL)
        await asyncio.sleep(0.2)
        ended.set()
        sent = sum(await asyncio.gather(*writing))
        await one.replica.engine.send(carol_chat, ALICE, [new_id()], ["hello"], retry=False)
        everything = list(range(1, sent + 1))
        await eventually(lambda: two.seqs(bob, chat_id) == everything, "all at one replica")
        await eventually(lambda: one.seqs(alice, chat_id) == everything, "all at the other")
        await eventually(lambda: two.seqs(carol, carol_chat) == [1], "what is sent afterwards")
        await eventually(
            lambda: one.replica.engine.followed.vector == two.replica.engine.followed.vector, "followed"
        )
        assert two.seqs(bob, chat_id) == everything
        assert one.seqs(alice, chat_id) == everything


async def test_messages_flow_while_redis_is_away(
    messenger_db: MessengerDatabase, own_redis: RedisServer
) -> None:
    """All chats between replicas would stand still until somebody has mended Redis."""
    chat_id = messenger_db.direct(ALICE, BOB)
    async with (
        running_side(messenger_db, own_redis) as one,
        running_side(messenger_db, own_redis) as two,
    ):
        bob = await two.gateway.open(BOB)
        own_redis.kill()
        try:
            for seq in range(1, 4):
                await one.replica.engine.send(chat_id, ALICE, [new_id()], ["a"], retry=False)
                await eventually(lambda seq=seq: two.seqs(bob, chat_id) == list(range(1, seq + 1)), "sent")
            # And who comes now, too
            carol_chat = messenger_db.direct(ALICE, CAROL)
            carol = await two.gateway.open(CAROL)
            await one.replica.engine.send(carol_chat, ALICE, [new_id()], ["b"], retry=False)
            await eventually(lambda: two.seqs(carol, carol_chat) == [1], "sent to a newcomer")
        finally:
            own_redis.start()


@pytest.mark.parametrize("fault", FAULTS)
async def test_nobody_is_announced_as_offline_who_is_there(
    messenger_db: MessengerDatabase,
    own_redis: RedisServer,
    fault: Callable[[RedisServer], Awaitable[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Everybody would seem to go and to come back whenever Redis fails; or to stay when they have gone."""
    monkeypatch.setattr(presence_updates, "GONE_SECONDS", 0.05)
    monkeypatch.setattr(presence_updates, "RETURN_SECONDS", 2.0)
    monkeypatch.setattr(presence_updates, "REFRESH_SECONDS", 0.1)
    messenger_db.direct(ALICE, BOB)
    messenger_db.direct(ALICE, CAROL)
    async with (
        running_side(messenger_db, own_redis) as one,
        running_side(messenger_db, own_redis) as two,
    ):
        await one.gateway.open(ALICE)
        await two.gateway.open(BOB)
        carol = await two.gateway.open(CAROL)
        await eventually(lambda: True in one.presences(BOB) and True in one.presences(CAROL), "online")
        failing = asyncio.create_task(fault(own_redis))
        two.gateway.write(closes=[carol])
        await failing
        await eventually(lambda: one.presences(CAROL)[-1] is False, "who went is offline")
        assert set(one.presences(BOB)) == {True}
