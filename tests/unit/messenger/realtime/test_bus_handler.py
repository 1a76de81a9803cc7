"""What replicas of one database deliver of each other's transactions, and what that costs them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from palaver.contracts.ids import new_id
from palaver.messenger.store.journal_sqlite import SqliteJournal
from palaver.messenger.store.messages import SqlMessageReader
from palaver.messenger.store.opening import Store
from palaver.messenger.store.writer import SqliteWriter
from palaver.messenger.use_cases import add_members
from palaver.runtime.settings.messenger import MessengerSettings
from palaver.runtime.sql.sqlite import SqliteDatabase
from tests.harness.gateway_stream import gateway_stream
from tests.harness.messenger_database import MessengerDatabase
from tests.harness.realtime import Cluster, Replica, running_replica
from tests.harness.waiting import eventually

ALICE, BOB, CAROL, DAVE = new_id(), new_id(), new_id(), new_id()


class CountedDatabase:
    """A database that counts what it is asked."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database
        self.reads: list[str] = []
        self.writes: list[str] = []

    async def read(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """See `Database.read`."""
        self.reads.append(work.__name__)
        return await self._database.read(work, *args, **kwargs)

    async def read_short(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """See `Database.read_short`."""
        self.reads.append(work.__name__)
        return await self._database.read_short(work, *args, **kwargs)

    async def write(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """See `Database.write`."""
        self.writes.append(work.__name__)
        return await self._database.write(work, *args, **kwargs)

    async def write_short(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """See `Database.write_short`."""
        self.writes.append(work.__name__)
        return await self._database.write_short(work, *args, **kwargs)

    async def close(self) -> None:
        """See `Database.close`."""
        await self._database.close()


@contextlib.asynccontextmanager
async def counted_replica(
    messenger_db: MessengerDatabase, cluster: Cluster
) -> AsyncIterator[tuple[Replica, CountedDatabase]]:
    """A replica, and what it asks its database."""
    database = CountedDatabase(SqliteDatabase(messenger_db.file))
    store = Store(database, [SqliteJournal(database)], SqliteWriter(database), SqlMessageReader(database))
    settings = MessengerSettings(rates=False)
    replica = Replica(store, messenger_db.keys.verifier(), cluster.bus, cluster.presence, settings)
    await replica.start()
    try:
        yield replica, database
    finally:
        await replica.stop()
        await store.close()


async def say(replica: Replica, chat_id: bytes, *texts: str, sender: bytes = ALICE) -> None:
    """Stores messages through a replica."""
    await replica.engine.send(chat_id, sender, [new_id() for _ in texts], texts, retry=False)


async def test_a_replica_without_a_socket_in_a_chat_reads_nothing_for_it(
    messenger_db: MessengerDatabase,
) -> None:
    """Each replica that is added would read all that is written, and the service not grow with them."""
    chat_id, other = messenger_db.direct(ALICE, BOB), messenger_db.direct(CAROL, DAVE)
    cluster = Cluster()
    async with (
        running_replica(messenger_db, cluster) as one,
        counted_replica(messenger_db, cluster) as (idle, idle_reads),
        counted_replica(messenger_db, cluster) as (two, reads),
        gateway_stream(one, messenger_db.keys) as near,
        gateway_stream(two, messenger_db.keys) as far,
    ):
        alice = await near.open(ALICE)
        await far.open(CAROL)
        await eventually(lambda: one.engine.followed.vector == two.engine.followed.vector, "presence")
        await asyncio.sleep(0.05)
        for counted in (reads, idle_reads):
            counted.reads.clear()
            counted.writes.clear()
        for number in range(100):
            near.send(alice, chat_id, f"{number}", request=number + 1)
        await eventually(lambda: len(messenger_db.history(chat_id)) == 100, "stored")
        newest = one.engine.followed
        await eventually(
            lambda: (
                newest.settled and two.engine.followed.vector == newest.vector == idle.engine.followed.vector
            ),
            "followed",
        )
        assert (reads.reads, reads.writes) == ([], [])
        assert (idle_reads.reads, idle_reads.writes) == ([], [])
        # It is not deaf
        await say(one, other, "for Carol", sender=DAVE)
        await eventually(lambda: far.seqs(1) == [1], "delivered")
        assert len(far.deliveries_to(1)) == 1


async def test_everything_reaches_the_sockets_of_another_replica(messenger_db: MessengerDatabase) -> None:
    """Members at two replicas would not see what the others do."""
    chat_id = messenger_db.direct(ALICE, BOB)
    cluster = Cluster()
    async with (
        running_replica(messenger_db, cluster) as one,
        running_replica(messenger_db, cluster) as two,
        gateway_stream(two, messenger_db.keys) as far,
    ):
        bob = await far.open(BOB)
        await say(one, chat_id, "a", "b")
        await eventually(lambda: far.seqs(bob) == [1, 2], "messages")
        await one.use_cases.edit_message(ALICE, chat_id, 1, "better")
        await one.use_cases.delete_message(ALICE, chat_id, 2)
        await eventually(
            lambda: (
                [(d.first_seq, list(d.texts)) for d in far.deliveries_to(bob) if d.changed]
                == [(1, ["better"]), (2, [""])]
            ),
            "changes",
        )
        await one.use_cases.set_receipt(ALICE, chat_id, 2, 2)
        one.engine.publish_typing(chat_id, ALICE)
        await eventually(lambda: far.all("typings"), "typing")
        assert [list(typing.sockets) for typing in far.all("typings")] == [[bob]]
        await eventually(lambda: two.engine.followed.vector == one.engine.followed.vector, "followed")


async def test_who_joins_by_another_replica_hears_from_then_on(messenger_db: MessengerDatabase) -> None:
    """Somebody who is added to a group would hear nothing of it until they connect again."""
    group = messenger_db.group([ALICE, BOB])
    cluster = Cluster()
    async with (
        running_replica(messenger_db, cluster) as one,
        running_replica(messenger_db, cluster) as two,
        gateway_stream(two, messenger_db.keys) as far,
    ):
        carol = await far.open(CAROL)
        await say(one, group, "before")
        await one.engine.commit(add_members, group, ALICE, [CAROL], 10)
        await eventually(lambda: two.engine.followed.vector == one.engine.followed.vector, "followed")
        await say(one, group, "welcome")
        await eventually(lambda: far.seqs(carol) == [2], "delivered")


async def test_who_is_removed_by_another_replica_hears_no_more(messenger_db: MessengerDatabase) -> None:
    """Somebody who was thrown out would read on at their replica (promise P5)."""
    group = messenger_db.group([ALICE, BOB, CAROL])
    cluster = Cluster()
    async with (
        running_replica(messenger_db, cluster) as one,
        running_replica(messenger_db, cluster) as two,
        gateway_stream(two, messenger_db.keys) as far,
    ):
        bob, carol = await far.open(BOB), await far.open(CAROL)
        await say(one, group, "for all")
        await eventually(lambda: far.seqs(bob) == far.seqs(carol) == [1], "delivered")
        await one.use_cases.remove_member(ALICE, group, BOB)
        await say(one, group, "not for Bob")
        await eventually(lambda: far.seqs(carol) == [1, 2], "delivered")
        assert far.seqs(bob) == [1]


async def test_what_cannot_be_read_in_a_bad_moment_is_delivered_later(
    messenger_db: MessengerDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A moment without the disk would cost the other replicas' users their messages."""
    monkeypatch.setattr("palaver.messenger.realtime.bus.InProcessBus.look_seconds", 0.02)
    chat_id = messenger_db.direct(ALICE, BOB)
    cluster = Cluster()
    async with (
        running_replica(messenger_db, cluster) as one,
        running_replica(messenger_db, cluster) as two,
        gateway_stream(two, messenger_db.keys) as far,
    ):
        bob = await far.open(BOB)
        await say(one, chat_id, "a")
        await eventually(lambda: far.seqs(bob) == [1], "delivered")
        failing = SqlMessageReader.after

        async def fail(*_: Any) -> Any:
            raise OSError("the disk is away")

        monkeypatch.setattr(SqlMessageReader, "after", fail)
        await say(one, chat_id, "b")
        await one.use_cases.edit_message(ALICE, chat_id, 1, "better")
        await asyncio.sleep(0.05)
        monkeypatch.setattr(SqlMessageReader, "after", failing)
        await eventually(lambda: far.seqs(bob) == [1, 2], "delivered from the log")
        await eventually(lambda: two.engine.followed.vector == one.engine.followed.vector, "followed")


async def test_two_replicas_deliver_one_order(messenger_db: MessengerDatabase) -> None:
    """Members of one chat at two replicas would see two conversations (promise P2)."""
    chat_id = messenger_db.direct(ALICE, BOB)
    cluster = Cluster()
    async with (
        running_replica(messenger_db, cluster) as one,
        running_replica(messenger_db, cluster) as two,
        gateway_stream(one, messenger_db.keys) as near,
        gateway_stream(two, messenger_db.keys) as far,
    ):
        alice, bob = await near.open(ALICE), await far.open(BOB)
        watching = await near.open(ALICE)

        async def talk(replica: Replica, sender: bytes) -> None:
            for number in range(60):
                await say(replica, chat_id, f"{number}", sender=sender)

        await asyncio.gather(talk(one, ALICE), talk(two, BOB))
        for gateway, socket in ((near, alice), (near, watching), (far, bob)):
            await eventually(lambda g=gateway, s=socket: len(g.seqs(s)) >= 120, "all delivered")
            assert gateway.seqs(socket) == list(range(1, 121))


async def test_who_comes_back_gets_nothing_a_second_time(messenger_db: MessengerDatabase) -> None:
    """A client that connects to a replica on which it was before would get everything since then as new."""
    chat_id = messenger_db.direct(ALICE, BOB)
    cluster = Cluster()
    async with (
        running_replica(messenger_db, cluster) as one,
        running_replica(messenger_db, cluster) as two,
        gateway_stream(two, messenger_db.keys) as far,
    ):
        bob = await far.open(BOB)
        await say(one, chat_id, "a")
        await eventually(lambda: far.seqs(bob) == [1], "delivered")
        far.write(closes=[bob])
        await eventually(lambda: not two.engine.hub.online, "closed")
        await eventually(lambda: not two.engine._subscriptions._ready, "unsubscribed", seconds=5)
        for text in "bcd":
            await say(one, chat_id, text)
        again = await far.open(BOB)
        await say(one, chat_id, "e")
        await eventually(lambda: 5 in far.seqs(again), "delivered")
        assert far.seqs(again) == [5]
        assert far.seqs(bob) == [1]
