"""Following the commit log beside the live path: holes that are filled, and rows that nobody needs."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import pytest
from sqlalchemy import func, select

from palaver.contracts.ids import new_id
from palaver.messenger.events import MessageChanged, Position
from palaver.messenger.realtime import log_follower as module
from palaver.messenger.realtime.bus import InProcessBus, LocalBus, Published
from palaver.messenger.realtime.log_follower import LogFollower
from palaver.messenger.store.commit_log import append_commit, read_after, read_newest, trim_log
from palaver.messenger.store.schema import commit_log
from tests.harness.gateway_stream import gateway_stream
from tests.harness.messenger_database import MessengerDatabase
from tests.harness.realtime import Cluster, Replica, running_replica
from tests.harness.waiting import eventually

ALICE, BOB = new_id(), new_id()


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Holes are looked for, and rows are trimmed, at once."""
    for bus in (LocalBus, InProcessBus):
        monkeypatch.setattr(bus, "look_seconds", 0.02)
    monkeypatch.setattr(module, "TRIM_SECONDS", 0.02)
    monkeypatch.setattr(module, "TRIM_PAUSE_SECONDS", 0.001)


class LossyBus(InProcessBus):
    """A bus that loses whole transactions while `loses`."""

    loses = False

    def publish(self, replica: bytes, position: Position | None, events: Sequence[Published]) -> None:
        """See `Bus.publish`."""
        if not self.loses:
            super().publish(replica, position, events)


async def test_what_the_bus_has_lost_is_delivered_from_the_log(messenger_db: MessengerDatabase) -> None:
    """A network that loses a packet would cost members a message."""
    chat_id = messenger_db.direct(ALICE, BOB)
    cluster = Cluster()
    bus = cluster.bus = LossyBus()
    async with (
        running_replica(messenger_db, cluster) as one,
        running_replica(messenger_db, cluster) as two,
        gateway_stream(two, messenger_db.keys) as far,
    ):
        bob = await far.open(BOB)
        for number in range(6):
            bus.loses = number in (1, 2, 4)
            await one.engine.send(chat_id, ALICE, [new_id()], [f"{number}"], retry=False)
        await eventually(lambda: far.seqs(bob) == [1, 2, 3, 4, 5, 6], "delivered")
        await eventually(lambda: two.engine.followed.vector == one.engine.followed.vector, "followed")
        assert two.engine.followed.settled
        await asyncio.sleep(0.1)
        assert far.seqs(bob) == [1, 2, 3, 4, 5, 6]


async def test_other_things_that_the_bus_has_lost_are_delivered_too(messenger_db: MessengerDatabase) -> None:
    """A network that loses a packet would leave a deleted message on screens."""
    chat_id = messenger_db.direct(ALICE, BOB)
    cluster = Cluster()
    bus = cluster.bus = LossyBus()
    async with (
        running_replica(messenger_db, cluster) as one,
        running_replica(messenger_db, cluster) as two,
        gateway_stream(two, messenger_db.keys) as far,
    ):
        bob = await far.open(BOB)
        await one.engine.send(chat_id, ALICE, [new_id()], ["a"], retry=False)
        bus.loses = True
        await one.use_cases.delete_message(ALICE, chat_id, 1)
        await one.use_cases.set_receipt(ALICE, chat_id, 1, 1)
        bus.loses = False
        await one.engine.send(chat_id, ALICE, [new_id()], ["b"], retry=False)
        await eventually(
            lambda: [one.first_seq for one in far.deliveries_to(bob) if one.changed] == [1], "deleted"
        )
        await eventually(lambda: two.engine.followed.vector == one.engine.followed.vector, "followed")


async def test_a_log_that_was_trimmed_too_early_stops_nobody(messenger_db: MessengerDatabase) -> None:
    """A replica that was frozen for hours would wait for ever for what is gone."""
    chat_id = messenger_db.direct(ALICE, BOB)
    async with (
        running_replica(messenger_db) as replica,
        gateway_stream(replica, messenger_db.keys) as gateway,
    ):
        await gateway.open(BOB)
        await eventually(lambda: replica.engine.followed.settled, "settled")
        for seq in range(5):
            position = messenger_db.write(append_commit, [MessageChanged(chat_id, seq)])
        messenger_db.write(trim_log, {1: position.number}, 100)
        replica.engine.followed.note(position)
        replica.engine.followed.abandon(position)
        await eventually(lambda: replica.engine.followed.vector == {1: position.number}, "gone on")
        # The gateway comes back with what it has followed, and is told that there is more
        await eventually(lambda: gateway.ended, "cut")
        assert all(one.number == 0 for batch in gateway.batches for one in batch.followed)
        async with gateway_stream(replica, messenger_db.keys, followed={1: 0}) as again:
            await eventually(lambda: any(batch.log_trimmed for batch in again.batches), "told so")
            bob = await again.open(BOB)
            await replica.engine.send(chat_id, ALICE, [new_id()], ["a"], retry=False)
            await eventually(lambda: again.seqs(bob) == [1], "delivered")


def rows(messenger_db: MessengerDatabase) -> int:
    """How many rows the log has."""
    count: int = messenger_db.write(
        lambda c: c.execute(select(func.count()).select_from(commit_log)).scalar_one()
    )
    return count


@contextlib.asynccontextmanager
async def trimming(replica: Replica, keep_seconds: float) -> AsyncIterator[None]:
    """Trims the log during the block, keeping rows for less than the settings allow."""
    engine = replica.engine
    follower = LogFollower(
        replica.store.database,
        engine.followed,
        engine._handler,
        engine._bus,
        lambda: True,
        engine.hub.cut_gateways,
        keep_seconds,
    )
    task = asyncio.create_task(follower.trim())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_what_is_old_is_trimmed(messenger_db: MessengerDatabase) -> None:
    """The database would grow with everything that ever moved (promise P9)."""
    chat_id = messenger_db.direct(ALICE, BOB)
    async with running_replica(messenger_db) as replica, trimming(replica, 0.1):
        for number in range(20):
            await replica.engine.send(chat_id, ALICE, [new_id()], [f"{number}"], retry=False)
        await eventually(lambda: rows(messenger_db) == 1, "trimmed")
        # And numbers go on
        await replica.engine.send(chat_id, ALICE, [new_id()], ["more"], retry=False)
        assert messenger_db.write(read_newest) == {1: 21}
    assert len(messenger_db.history(chat_id)) == 21


async def test_what_is_young_is_kept(messenger_db: MessengerDatabase) -> None:
    """Gateways that were away for a moment would have to send all their sockets away."""
    chat_id = messenger_db.direct(ALICE, BOB)
    async with running_replica(messenger_db) as replica, trimming(replica, 60):
        for number in range(5):
            await replica.engine.send(chat_id, ALICE, [new_id()], [f"{number}"], retry=False)
        await asyncio.sleep(0.2)
        assert len(messenger_db.write(read_after, {1: 0}, 100)) == 5


async def test_trimming_goes_on_after_a_bad_moment(
    messenger_db: MessengerDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One moment without the disk would let the log grow until a restart."""
    chat_id = messenger_db.direct(ALICE, BOB)
    failures: list[int] = []

    def fail(*_: object) -> int:
        failures.append(1)
        raise OSError("the disk is away")

    async with running_replica(messenger_db) as replica:
        for number in range(5):
            await replica.engine.send(chat_id, ALICE, [new_id()], [f"{number}"], retry=False)
        with monkeypatch.context() as patch:
            patch.setattr(module, "trim_log", fail)
            async with trimming(replica, 0.0):
                await eventually(lambda: len(failures) >= 2, "tried again")
        async with trimming(replica, 0.0):
            await eventually(lambda: rows(messenger_db) == 1, "trimmed")
