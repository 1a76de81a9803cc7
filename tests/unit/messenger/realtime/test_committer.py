"""Group commit on a real journal."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from sqlalchemy import Connection, select, text

from palaver.contracts.errors import OVERLOADED, RESTARTING, UNAVAILABLE, PalaverError
from palaver.contracts.ids import new_id
from palaver.messenger.domain import Membership
from palaver.messenger.events import Position
from palaver.messenger.pending_send import PendingSend
from palaver.messenger.realtime.committer import Committer
from palaver.messenger.store.journal import Writes
from palaver.messenger.store.journal_sqlite import SqliteJournal
from palaver.messenger.store.schema import members
from palaver.runtime.settings.messenger import MessengerSettings
from palaver.runtime.sql.sqlite import SqliteDatabase
from tests.harness.messenger_database import MessengerDatabase
from tests.harness.noted_replies import NotedReply
from tests.harness.waiting import eventually

ALICE, BOB = new_id(), new_id()
# More than is free in the pages that a new database has
LARGE = "x" * 16_000


@pytest.fixture
def written() -> list[Writes]:
    """What was written, batch by batch."""
    return []


@pytest_asyncio.fixture
async def committer(database: SqliteDatabase, written: list[Writes]) -> AsyncIterator[Committer]:
    """A committer with room for 50 messages."""
    committer = Committer(SqliteJournal(database), written.append, MessengerSettings(), 50)
    async with running(committer):
        yield committer


@contextlib.asynccontextmanager
async def running(committer: Committer) -> AsyncIterator[None]:
    """Runs a committer during the block, then until it has written what waits."""
    task = asyncio.create_task(committer.run())
    try:
        yield
    finally:
        committer.stop()
        await task


@pytest.fixture
def membership(messenger_db: MessengerDatabase) -> Membership:
    """Alice and Bob."""
    return Membership(messenger_db.direct(ALICE, BOB), False, 1, frozenset([ALICE, BOB]))


def request(membership: Membership, *texts: str, sender: bytes = ALICE) -> PendingSend:
    """A request of a member."""
    return PendingSend(membership, sender, [new_id() for _ in texts], list(texts), NotedReply())


async def test_what_waits_while_the_disk_works_is_one_batch(
    messenger_db: MessengerDatabase, committer: Committer, membership: Membership, written: list[Writes]
) -> None:
    """A busy server would pay the disk for each message."""
    for number in range(40):
        committer.submit(request(membership, f"{number}"))
        if number == 0:
            # The first is on its way before the others come
            await asyncio.sleep(0)
    await eventually(lambda: sum(len(w.sends) for w in written) == 40, "all written")
    assert len(written) <= 3
    assert [message.text for message in messenger_db.history(membership.chat_id)] == [
        f"{n}" for n in range(40)
    ]


async def test_outcomes_are_told_in_the_order_of_seqs(
    committer: Committer, membership: Membership, written: list[Writes]
) -> None:
    """Members would be told of a message before the one that comes before it."""
    for number in range(30):
        committer.submit(request(membership, "text", sender=(ALICE, BOB)[number % 2]))
        await asyncio.sleep(0)
    await eventually(lambda: sum(len(w.sends) for w in written) == 30, "all written")
    sends = list(itertools.chain.from_iterable(writes.sends for writes in written))
    seqs = [send.first_seq for send in sends]
    assert seqs == list(range(1, 31))
    assert [writes.position for writes in written] == [Position(1, n) for n in range(1, len(written) + 1)]


async def test_too_many_that_wait_are_refused(committer: Committer, membership: Membership) -> None:
    """A journal that hangs would fill the memory (promise P9)."""
    for _ in range(50):
        committer.submit(request(membership, "a"))
    with pytest.raises(PalaverError) as refused:
        committer.submit(request(membership, "a"))
    assert refused.value.kind is OVERLOADED
    assert refused.value.retry_after > 0


async def test_a_full_queue_keeps_out_those_who_filled_it(
    committer: Committer, membership: Membership
) -> None:
    """One hot sender would have everybody's messages refused (promise P7)."""
    for _ in range(50):
        committer.submit(request(membership, "a"))
    for number in range(50):
        committer.submit(request(membership, "b", sender=new_id() if number else BOB))
    for sender in (ALICE, BOB, new_id()):
        with pytest.raises(PalaverError) as refused:
            committer.submit(request(membership, "c", sender=sender))
        assert refused.value.kind is OVERLOADED


async def test_a_stop_writes_what_waits_and_takes_no_more(
    messenger_db: MessengerDatabase, database: SqliteDatabase, membership: Membership, written: list[Writes]
) -> None:
    """An update would lose the messages of its last moment."""
    committer = Committer(SqliteJournal(database), written.append, MessengerSettings(), 50_000)
    async with running(committer):
        for _ in range(5):
            committer.submit(request(membership, "a", "b"))
    assert len(messenger_db.history(membership.chat_id)) == 10
    assert sum(len(writes.sends) for writes in written) == 5
    with pytest.raises(PalaverError) as refused:
        committer.submit(request(membership, "a"))
    assert refused.value.kind is RESTARTING


async def test_a_batch_that_fails_is_told_and_the_next_is_written(
    messenger_db: MessengerDatabase, committer: Committer, membership: Membership, written: list[Writes]
) -> None:
    """One full disk would end the messenger until a restart, and leave senders without an answer."""
    messenger_db.write(lambda c: c.execute(text("ALTER TABLE messages RENAME TO away")))
    failed = request(membership, "a")
    committer.submit(failed)
    committer.submit_receipt((membership.chat_id, BOB), 1, 1)
    await eventually(lambda: written, "told")
    assert isinstance(failed.error, PalaverError)
    assert failed.error.kind is UNAVAILABLE
    assert written[0].error is failed.error
    assert written[0].position is None
    messenger_db.write(lambda c: c.execute(text("ALTER TABLE away RENAME TO messages")))
    committer.submit(good := request(membership, "b"))
    await eventually(lambda: len(written) == 2, "told")
    assert (good.error, good.first_seq) == (None, 1)


async def test_a_commit_that_fails_leaves_no_outcome(
    database: SqliteDatabase, membership: Membership, written: list[Writes]
) -> None:
    """Gateways would follow a position that is not on disk, and never get what is committed there later;
    and a receipt would be confirmed, and shown to others, that is lost."""

    class FullDisk:
        async def write(self, writes: Writes) -> None:
            await SqliteJournal(database).write(writes)
            raise OSError("the disk was full when the transaction was committed")

    committer = Committer(FullDisk(), written.append, MessengerSettings(), 50_000)
    async with running(committer):
        committer.submit(request(membership, "a"))
        committer.submit_receipt((membership.chat_id, BOB), 1, 1)
        await eventually(lambda: written, "the outcome")
    (writes,) = written
    assert writes.error is not None
    assert (writes.position, writes.stored_receipts) == (None, {})
    assert [*writes.appended, *writes.others] == []


async def test_receipts_of_one_member_become_one(
    committer: Committer, membership: Membership, written: list[Writes]
) -> None:
    """Somebody who scrolls would write a row for each message."""
    committer.submit(request(membership, "a", "b", "c"))
    for received, read in [(1, 0), (3, 0), (2, 2)]:
        committer.submit_receipt((membership.chat_id, BOB), received, read)
    await eventually(lambda: written, "written")
    assert written[0].receipts == {(membership.chat_id, BOB): (3, 2)}
    assert written[0].stored_receipts == {(membership.chat_id, BOB): (3, 2, True)}


async def test_the_version_of_a_check_stays_with_its_request(
    messenger_db: MessengerDatabase, committer: Committer, membership: Membership, written: list[Writes]
) -> None:
    """Somebody removed would still write, once others had made their replica read the members again."""
    committer.submit(waiting := request(membership, "a"))
    messenger_db.write(lambda c: c.execute(text("UPDATE chats SET members_version = 2")))
    await eventually(lambda: written, "written")
    assert waiting.stale
    assert messenger_db.history(membership.chat_id) == []


async def test_presence_is_written_once_a_user(committer: Committer, written: list[Writes]) -> None:
    """Somebody whose connection flickers would write a row for each time, and be announced as often."""
    for online, at in [(True, 10), (False, 20), (True, 30)]:
        committer.submit_presence(BOB, online, at)
    await eventually(lambda: written, "written")
    assert written[0].presence == {BOB: (True, 30)}


async def test_an_outcome_that_cannot_be_used_does_not_end_the_writing(
    messenger_db: MessengerDatabase, database: SqliteDatabase, membership: Membership
) -> None:
    """One faulty delivery would stop all sends until a restart."""
    outcomes: list[Writes] = []

    def fail_once(writes: Writes) -> None:
        outcomes.append(writes)
        if len(outcomes) == 1:
            raise RuntimeError("a fault")

    committer = Committer(SqliteJournal(database), fail_once, MessengerSettings(), 50_000)
    async with running(committer):
        committer.submit(request(membership, "a"))
        await eventually(lambda: outcomes, "the fault")
        committer.submit(request(membership, "b"))
    assert [message.text for message in messenger_db.history(membership.chat_id)] == ["a", "b"]


async def test_receipts_outlive_a_full_disk(
    committer: Committer, database: SqliteDatabase, membership: Membership
) -> None:
    """Chats would show as unread what was read while the disk was full, until the next stream."""
    sent = request(membership, "one")
    committer.submit(sent)
    await eventually(lambda: sent.ids, "written")
    await database.write(limit_pages, 1)
    lost = request(membership, LARGE)
    committer.submit(lost)
    committer.submit_receipt((membership.chat_id, BOB), 1, 1)
    await eventually(lambda: lost.error, "refused")
    await database.write(limit_pages, 1 << 20)

    async def is_read() -> bool:
        found = await database.read(read_seq, membership.chat_id)
        return found == 1

    await eventually(is_read, "the receipt")


def read_seq(connection: Connection, chat_id: bytes) -> object:
    """How far Bob has read."""
    mine = (members.c.chat_id == chat_id) & (members.c.user_id == BOB)
    return connection.execute(select(members.c.read_seq).where(mine)).scalar()


def limit_pages(connection: Connection, pages: int) -> None:
    """As if the disk had room for so many pages, or for those that it has."""
    connection.execute(text(f"PRAGMA max_page_count = {pages}"))
