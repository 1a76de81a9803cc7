"""Group commit on a real journal."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from sqlalchemy import text

from palaver.contracts.errors import OVERLOADED, RESTARTING, UNAVAILABLE, PalaverError
from palaver.contracts.ids import new_id
from palaver.contracts.times import now_us
from palaver.messenger.realtime.committer import Committer
from palaver.messenger.realtime.memberships import Audience
from palaver.messenger.sequencing import Append
from palaver.messenger.store.journal import SqliteJournal, Writes
from palaver.runtime.settings import MessengerSettings
from palaver.runtime.sql.database import SqliteDatabase
from tests.harness.messenger_database import MessengerDatabase
from tests.harness.waiting import eventually

ALICE, BOB = new_id(), new_id()

Make = Callable[..., Committer]


@pytest.fixture
def written() -> list[Writes]:
    """What was written, batch by batch."""
    return []


@pytest_asyncio.fixture
async def committer(database: SqliteDatabase, written: list[Writes]) -> AsyncIterator[Committer]:
    """A committer with room for 50 messages."""
    committer = Committer(SqliteJournal(database), written.append, MessengerSettings(queue_messages=50))
    committer.start()
    yield committer
    await committer.stop()


@pytest.fixture
def audience(messenger_db: MessengerDatabase) -> Audience:
    """Alice and Bob."""
    return Audience(messenger_db.direct(ALICE, BOB), False, 1, 0, frozenset([ALICE, BOB]))


def append(audience: Audience, *texts: str, sender: bytes = ALICE) -> Append:
    """A request of a member."""
    return Append(audience, sender, [new_id() for _ in texts], list(texts))


async def test_what_waits_while_the_disk_works_is_one_batch(
    messenger_db: MessengerDatabase, committer: Committer, audience: Audience, written: list[Writes]
) -> None:
    """A busy server would pay the disk for each message."""
    for number in range(40):
        committer.submit(append(audience, f"{number}"))
        if number == 0:
            # The first is on its way before the others come
            await asyncio.sleep(0)
    await eventually(lambda: sum(len(w.appends) for w in written) == 40, "all written")
    assert len(written) <= 3
    assert [message.text for message in messenger_db.history(audience.chat_id)] == [f"{n}" for n in range(40)]


async def test_outcomes_are_told_in_the_order_of_seqs(
    committer: Committer, audience: Audience, written: list[Writes]
) -> None:
    """Members would be told of a message before the one that comes before it."""
    for number in range(30):
        committer.submit(append(audience, "text", sender=(ALICE, BOB)[number % 2]))
        await asyncio.sleep(0)
    await eventually(lambda: sum(len(w.appends) for w in written) == 30, "all written")
    appends = list(itertools.chain.from_iterable(writes.appends for writes in written))
    seqs = [append.first_seq for append in appends]
    assert seqs == list(range(1, 31))
    assert audience.pending == 0


async def test_too_many_that_wait_are_refused(committer: Committer, audience: Audience) -> None:
    """A journal that hangs would fill the memory (promise P9)."""
    for _ in range(50):
        committer.submit(append(audience, "a"))
    with pytest.raises(PalaverError) as refused:
        committer.submit(append(audience, "a"))
    assert refused.value.kind is OVERLOADED
    assert refused.value.retry_after > 0
    assert audience.pending == 50


async def test_a_stop_writes_what_waits_and_takes_no_more(
    messenger_db: MessengerDatabase, database: SqliteDatabase, audience: Audience, written: list[Writes]
) -> None:
    """An update would lose the messages of its last moment."""
    committer = Committer(SqliteJournal(database), written.append, MessengerSettings())
    committer.start()
    for _ in range(5):
        committer.submit(append(audience, "a", "b"))
    await committer.stop()
    assert len(messenger_db.history(audience.chat_id)) == 10
    assert sum(len(writes.appends) for writes in written) == 5
    with pytest.raises(PalaverError) as refused:
        committer.submit(append(audience, "a"))
    assert refused.value.kind is RESTARTING


async def test_a_batch_that_fails_is_told_and_the_next_is_written(
    messenger_db: MessengerDatabase, committer: Committer, audience: Audience, written: list[Writes]
) -> None:
    """One full disk would end the messenger until a restart, and leave senders without an answer."""
    messenger_db.write(lambda c: c.execute(text("ALTER TABLE messages RENAME TO away")))
    failed = append(audience, "a")
    committer.submit(failed)
    committer.submit_receipt((audience.chat_id, BOB), 1, 1)
    await eventually(lambda: written, "told")
    assert isinstance(failed.error, PalaverError)
    assert failed.error.kind is UNAVAILABLE
    assert written[0].error is failed.error
    assert audience.pending == 0
    messenger_db.write(lambda c: c.execute(text("ALTER TABLE away RENAME TO messages")))
    committer.submit(good := append(audience, "b"))
    await eventually(lambda: len(written) == 2, "told")
    assert (good.error, good.first_seq) == (None, 1)


async def test_receipts_of_one_member_become_one(
    committer: Committer, audience: Audience, written: list[Writes]
) -> None:
    """Somebody who scrolls would write a row for each message."""
    committer.submit(append(audience, "a", "b", "c"))
    for received, read in [(1, 0), (3, 0), (2, 2)]:
        committer.submit_receipt((audience.chat_id, BOB), received, read)
    await eventually(lambda: written, "written")
    assert written[0].receipts == {(audience.chat_id, BOB): (3, 2)}
    assert written[0].receipts_now == {(audience.chat_id, BOB): (3, 2, True)}


async def test_the_version_of_a_check_stays_with_its_request(
    messenger_db: MessengerDatabase, committer: Committer, audience: Audience, written: list[Writes]
) -> None:
    """Somebody removed would still write, once others had made their replica read the members again."""
    committer.submit(waiting := append(audience, "a"))
    messenger_db.write(lambda c: c.execute(text("UPDATE chats SET members_version = 2")))
    audience.version = 2
    await eventually(lambda: written, "written")
    assert waiting.stale
    assert messenger_db.history(audience.chat_id) == []


async def test_a_socket_that_opens_during_a_write_counts_as_open_before_it(
    messenger_db: MessengerDatabase, committer: Committer, audience: Audience, written: list[Writes]
) -> None:
    """What it is told first would be taken for older than itself, and be lost with a stream that breaks."""
    # More than the event loop writes by itself
    for name in ("a", "b", "c"):
        committer.submit(append(audience, name))
    await asyncio.sleep(0)
    during = committer.told_until()
    await eventually(lambda: written, "written")
    message = messenger_db.history(audience.chat_id)[-1]
    assert during <= message.created_at
    assert message.created_at <= committer.told_until() <= now_us()
