"""Several messengers on one MariaDB: with a bus between them, and with the commit log alone."""

import asyncio
from collections import Counter

import pytest

from palaver.contracts.errors import PalaverError
from palaver.contracts.ids import new_id
from palaver.messenger.realtime.bus import InProcessBus, LogOnlyBus
from palaver.messenger.store.commit_log import read_after, read_newest
from tests.harness.gateway_stream import gateway_stream
from tests.harness.messenger_database import MessengerDatabase
from tests.harness.realtime import Cluster, Replica, running_replica
from tests.harness.waiting import eventually

ALICE, BOB = new_id(), new_id()


@pytest.fixture
def sql_engine() -> str:
    """MariaDB alone."""
    return "mariadb"


@pytest.fixture(params=[InProcessBus, LogOnlyBus])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """What the replicas share besides the database."""
    cluster = Cluster()
    cluster.bus = request.param()
    return cluster


def check_log(messenger_db: MessengerDatabase) -> None:
    """Each writer's numbers are there once, without a hole."""
    by_writer: dict[int, list[int]] = {}
    for commit in messenger_db.write(read_after, {}, 100_000):
        by_writer.setdefault(commit.position.writer, []).append(commit.position.number)
    assert by_writer
    assert all(found == list(range(1, len(found) + 1)) for found in by_writer.values())


async def test_members_at_all_replicas_see_one_order(
    messenger_db: MessengerDatabase, cluster: Cluster
) -> None:
    """Two who talk through two messengers would see two conversations, with holes (promises P2, P3)."""
    chat_id, other_id = messenger_db.direct(ALICE, BOB), messenger_db.group([ALICE, BOB])
    async with (
        running_replica(messenger_db, cluster, writers=2) as one,
        running_replica(messenger_db, cluster, writers=2) as two,
        gateway_stream(one, messenger_db.keys) as near,
        gateway_stream(two, messenger_db.keys) as far,
    ):
        alice, bob = await near.open(ALICE), await far.open(BOB)

        async def say(replica: Replica, user: bytes, chat: bytes, count: int) -> None:
            for number in range(count):
                await replica.engine.send(chat, user, [new_id()], [f"{number}"], retry=False)

        await asyncio.gather(
            say(one, ALICE, chat_id, 30),
            say(two, BOB, chat_id, 30),
            say(two, ALICE, other_id, 20),
            say(one, BOB, other_id, 20),
        )
        for chat, count in ((chat_id, 60), (other_id, 40)):
            assert [one.seq for one in messenger_db.history(chat)] == list(range(1, count + 1))
        # Sent by calls, so that both sockets of each get all of it
        wanted = Counter([*range(1, 61), *range(1, 41)])
        await eventually(lambda: Counter(far.seqs(bob)) == wanted, "at the far gateway")
        await eventually(lambda: Counter(near.seqs(alice)) == wanted, "at the near gateway")
        newest = messenger_db.write(read_newest)
        await eventually(lambda: one.engine.followed.vector == {1: 0, **newest}, "followed by one")
        await eventually(lambda: two.engine.followed.vector == {1: 0, **newest}, "followed by the other")
    check_log(messenger_db)


async def test_edits_receipts_and_members_reach_other_replicas(
    messenger_db: MessengerDatabase, cluster: Cluster
) -> None:
    """Deleted messages would stay on screens, and who left would go on to receive."""
    carol = new_id()
    chat_id = messenger_db.group([ALICE, BOB, carol])
    async with (
        running_replica(messenger_db, cluster) as one,
        running_replica(messenger_db, cluster) as two,
        gateway_stream(two, messenger_db.keys) as far,
    ):
        bob, gone = await far.open(BOB), await far.open(carol)
        await one.engine.send(chat_id, ALICE, [new_id()], ["a"], retry=False)
        await eventually(lambda: far.seqs(gone) == [1], "delivered")
        await one.use_cases.edit_message(ALICE, chat_id, 1, "better")
        await one.use_cases.set_receipt(ALICE, chat_id, 1, 1)
        await eventually(
            lambda: [found.first_seq for found in far.deliveries_to(bob) if found.changed] == [1], "edited"
        )
        await one.use_cases.remove_member(ALICE, chat_id, carol)
        await one.engine.send(chat_id, ALICE, [new_id()], ["b"], retry=False)
        await eventually(lambda: 2 in far.seqs(bob), "delivered again")
        await asyncio.sleep(0.3)
        assert 2 not in far.seqs(gone)
    check_log(messenger_db)


async def test_a_client_id_writes_once_at_all_replicas(
    messenger_db: MessengerDatabase, cluster: Cluster
) -> None:
    """A client that repeats at another messenger, at the same moment, would say it twice (promise P4)."""
    chat_id = messenger_db.direct(ALICE, BOB)
    async with (
        running_replica(messenger_db, cluster) as one,
        running_replica(messenger_db, cluster) as two,
    ):
        for number in range(20):
            client_id = new_id()
            found = await asyncio.gather(
                *(
                    replica.engine.send(chat_id, ALICE, [client_id], ["text"], retry=retry)
                    for replica in (one, two)
                    for retry in (False, True)
                )
            )
            assert [keys[0].seq for keys in found] == [number + 1] * 4
    assert len(messenger_db.history(chat_id)) == 20
    check_log(messenger_db)


async def test_replicas_go_on_when_all_their_connections_break(
    messenger_db: MessengerDatabase, cluster: Cluster
) -> None:
    """A failover of the database would cost messages, or say some of them twice (promises P1, P4)."""
    schema = messenger_db.schema
    assert schema is not None
    chat_id = messenger_db.direct(ALICE, BOB)
    stored: dict[bytes, int] = {}
    async with (
        running_replica(messenger_db, cluster) as one,
        running_replica(messenger_db, cluster) as two,
        gateway_stream(two, messenger_db.keys) as far,
    ):
        bob = await far.open(BOB)

        async def say(replica: Replica) -> None:
            for number in range(25):
                client_id, retry = new_id(), False
                while client_id not in stored:
                    try:
                        keys = await replica.engine.send(
                            chat_id, ALICE, [client_id], [f"{number}"], retry=retry
                        )
                        stored[client_id] = keys[0].seq
                    except PalaverError:
                        retry = True
                        await asyncio.sleep(0.02)

        saying = asyncio.gather(say(one), say(two))
        while not saying.done():
            await asyncio.to_thread(schema.server.kill_connections, schema.name)
            await asyncio.sleep(0.1)
        await saying
        history = messenger_db.history(chat_id)
        assert [message.seq for message in history] == list(range(1, 51))
        assert {message.client_id: message.seq for message in history} == stored
        await eventually(lambda: Counter(far.seqs(bob)) == Counter(range(1, 51)), "delivered once", 20)
    check_log(messenger_db)
