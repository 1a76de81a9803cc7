"""What every journal promises, on real databases."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import Connection, delete, select, text, update

from palaver.contracts.ids import new_id
from palaver.messenger.domain import Membership
from palaver.messenger.events import MessagesAppended, Position, PresenceChanged, ReceiptMoved
from palaver.messenger.pending_send import PendingSend, new_texts, stored_keys
from palaver.messenger.store.commit_log import read_after, read_newest
from palaver.messenger.store.journal import Journal, Writes
from palaver.messenger.store.journal_mysql import MysqlJournal
from palaver.messenger.store.journal_sqlite import SqliteJournal
from palaver.messenger.store.schema import chats, commit_log, members, message_keys, messages, presence
from palaver.messenger.store.writer_mysql import MysqlWriter
from palaver.runtime.sql.sqlite import SqliteDatabase
from palaver.runtime.telemetry.trace_context import TraceContext
from tests.harness.messenger_database import MessengerDatabase
from tests.harness.noted_replies import NotedReply

ALICE, BOB, STRANGER = new_id(), new_id(), new_id()


@contextlib.asynccontextmanager
async def opened_journal(messenger_db: MessengerDatabase) -> AsyncIterator[Journal]:
    """A journal with connections of its own, as another process has it. Its clock stands still."""
    if isinstance(messenger_db.location, Path):
        database = SqliteDatabase(messenger_db.location)
        yield SqliteJournal(database, lambda: 5_000)
        await database.close()
    else:
        writer = MysqlWriter(messenger_db.location)
        yield MysqlJournal(writer, lambda: 5_000)
        await writer.close()


@pytest_asyncio.fixture
async def journal(messenger_db: MessengerDatabase) -> AsyncIterator[Journal]:
    """A journal whose clock stands still."""
    async with opened_journal(messenger_db) as journal:
        yield journal


def request(
    chat_id: bytes, *texts: str, sender: bytes = ALICE, version: int = 1, **more: object
) -> PendingSend:
    """A request of a member, as it waits for the committer."""
    membership = Membership(chat_id, False, version, frozenset([ALICE, BOB]))
    client_ids = more.pop("client_ids", None) or [new_id() for _ in texts]
    return PendingSend(membership, sender, client_ids, list(texts), NotedReply(), **more)  # type: ignore[arg-type]


def read_member(connection: Connection, chat_id: bytes, user_id: bytes) -> tuple[int, int, int]:
    """Received seq, read seq and activity."""
    row = connection.execute(
        select(members.c.received_seq, members.c.read_seq, members.c.active_at).where(
            members.c.chat_id == chat_id, members.c.user_id == user_id
        )
    ).one()
    return row[0], row[1], row[2]


async def test_what_is_written_is_there_for_every_connection(
    messenger_db: MessengerDatabase, journal: Journal
) -> None:
    """An acknowledged message could be one that nobody ever reads (promise P1)."""
    chat_id = messenger_db.direct(ALICE, BOB)
    asked = request(
        chat_id,
        "one",
        "two\N{PILE OF POO}",
        trace=TraceContext("0af7651916cd43dd8448eb211c80319c", "", False),
    )
    await journal.write(Writes([asked]))
    assert [(one.seq, one.id, one.created_at) for one in messenger_db.history(chat_id)] == stored_keys(asked)
    assert [(one.client_id, one.text) for one in messenger_db.history(chat_id)] == new_texts(asked)
    assert {one.trace_id for one in messenger_db.history(chat_id)} == {"0af7651916cd43dd8448eb211c80319c"}
    assert [stored.created_at for stored in stored_keys(asked)] == [5_000, 5_000]
    chat = messenger_db.write(lambda c: c.execute(select(chats.c.last_seq, chats.c.active_at)).one())
    assert tuple(chat) == (2, 5_000)
    assert messenger_db.write(read_member, chat_id, ALICE) == (2, 2, 5_000)
    assert messenger_db.write(read_member, chat_id, BOB) == (0, 0, 5_000)


async def test_a_client_id_that_comes_again_unannounced_gives_the_first_message(
    messenger_db: MessengerDatabase, journal: Journal
) -> None:
    """A client that forgets to say that it repeats would double its message (promise P4)."""
    chat_id = messenger_db.direct(ALICE, BOB)
    first, other = request(chat_id, "first"), request(chat_id, "other")
    await journal.write(Writes([first]))
    again = request(chat_id, "again", client_ids=first.client_ids)
    await journal.write(Writes([other, again]))
    assert stored_keys(again) == stored_keys(first)
    assert [message.text for message in messenger_db.history(chat_id)] == ["first", "other"]


async def test_a_repeat_brings_nothing_back(messenger_db: MessengerDatabase, journal: Journal) -> None:
    """A repeated send would bring back a text that was deleted since."""
    chat_id = messenger_db.direct(ALICE, BOB)
    first = request(chat_id, "secret")
    await journal.write(Writes([first]))
    messenger_db.write(lambda c: c.execute(update(messages).values(text="", deleted_at=6_000)))
    again = request(chat_id, "secret", client_ids=first.client_ids, retry=True)
    await journal.write(writes := Writes([again]))
    assert (again.ids, stored_keys(again)) == ([], stored_keys(first))
    assert (writes.appended, writes.position) == ([], None)
    (message,) = messenger_db.history(chat_id)
    assert (message.seq, message.text, message.deleted_at) == (1, "", 6_000)


@pytest.mark.parametrize("retry", [False, True])
async def test_a_repeat_of_what_is_archived_is_answered_from_its_key(
    messenger_db: MessengerDatabase, journal: Journal, retry: bool
) -> None:
    """A client that comes back late would write a message again that is in an archive."""
    chat_id = messenger_db.direct(ALICE, BOB)
    first = request(chat_id, "a", "b")
    await journal.write(Writes([first]))
    messenger_db.write(lambda c: c.execute(delete(messages)))
    again = request(chat_id, "a", "b", client_ids=first.client_ids, retry=retry)
    await journal.write(Writes([again]))
    assert stored_keys(again) == stored_keys(first)
    assert [stored.created_at for stored in stored_keys(again)] == [5_000, 5_000]
    assert messenger_db.history(chat_id) == []
    await journal.write(Writes([other := request(chat_id, "c")]))
    assert other.first_seq == 3


async def test_two_journals_give_one_order(messenger_db: MessengerDatabase, journal: Journal) -> None:
    """Two replicas would give one seq twice, or leave holes."""
    chat_id = messenger_db.direct(ALICE, BOB)
    client_ids = [new_id() for _ in range(40)]
    asked = [[request(chat_id, "text", client_ids=[client_id]) for client_id in client_ids] for _ in range(2)]
    async with opened_journal(messenger_db) as other:
        for mine, theirs in zip(*asked, strict=True):
            await asyncio.gather(journal.write(Writes([mine])), other.write(Writes([theirs])))
    history = messenger_db.history(chat_id)
    assert [message.seq for message in history] == list(range(1, 41))
    assert {message.client_id for message in history} == set(client_ids)
    for mine, theirs in zip(*asked, strict=True):
        assert stored_keys(mine)[0].seq == stored_keys(theirs)[0].seq


async def test_a_batch_larger_than_a_statement_is_written_whole(
    messenger_db: MessengerDatabase, journal: Journal
) -> None:
    """A burst would lose what does not fit."""
    chat_id = messenger_db.direct(ALICE, BOB)
    batch = [request(chat_id, *(f"{number}.{part}" for part in range(3))) for number in range(257)]
    await journal.write(Writes(batch))
    expected = [f"{number}.{part}" for number in range(257) for part in range(3)]
    assert [message.text for message in messenger_db.history(chat_id)] == expected
    keys = messenger_db.write(
        lambda c: c.execute(select(message_keys.c.seq).order_by(message_keys.c.seq)).all()
    )
    assert [row.seq for row in keys] == list(range(1, 772))


async def test_a_transaction_that_fails_writes_nothing(
    messenger_db: MessengerDatabase, journal: Journal
) -> None:
    """Half a batch could be there, with seqs that the chat does not know of."""
    chat_id = messenger_db.direct(ALICE, BOB)
    messenger_db.write(lambda c: c.execute(text("ALTER TABLE commit_log RENAME TO away")))
    try:
        with pytest.raises(Exception, match=r"no such table|doesn't exist"):
            await journal.write(Writes([request(chat_id, "a")], {(chat_id, BOB): (1, 1)}))
    finally:
        messenger_db.write(lambda c: c.execute(text("ALTER TABLE away RENAME TO commit_log")))
    assert messenger_db.history(chat_id) == []
    assert messenger_db.write(lambda c: c.execute(select(message_keys)).all()) == []
    assert messenger_db.write(lambda c: c.execute(select(chats.c.last_seq)).scalar()) == 0
    assert messenger_db.write(lambda c: c.execute(select(commit_log)).all()) == []
    asked = request(chat_id, "b")
    await journal.write(Writes([asked]))
    assert stored_keys(asked)[0].seq == 1


async def test_receipts_move_forward_and_not_beyond_the_end(
    messenger_db: MessengerDatabase, journal: Journal
) -> None:
    """Unread counts would be wrong, or go back."""
    chat_id = messenger_db.direct(ALICE, BOB)
    await journal.write(Writes([request(chat_id, "a", "b", "c")]))
    key = (chat_id, BOB)
    for asked, stored, moved in [
        ((2, 0), (2, 0), True),
        ((1, 0), (2, 0), False),
        ((0, 1), (2, 1), True),
        ((0, 3), (3, 3), True),
        ((99, 99), (3, 3), False),
    ]:
        writes = Writes(receipts={key: asked})
        await journal.write(writes)
        assert writes.stored_receipts == {key: (*stored, moved)}
        assert messenger_db.write(read_member, chat_id, BOB)[:2] == stored


async def test_receipts_of_strangers_and_former_members_move_nothing(
    messenger_db: MessengerDatabase, journal: Journal
) -> None:
    """Somebody outside a chat would change it, or learn that it exists (promise P5)."""
    chat_id = messenger_db.direct(ALICE, BOB)
    await journal.write(Writes([request(chat_id, "a")]))
    messenger_db.write(
        lambda c: c.execute(update(members).where(members.c.user_id == BOB).values(left_seq=0))
    )
    writes = Writes(receipts={(chat_id, STRANGER): (1, 1), (chat_id, BOB): (1, 1), (new_id(), ALICE): (1, 1)})
    await journal.write(writes)
    assert writes.stored_receipts == {}
    assert messenger_db.write(read_member, chat_id, BOB)[:2] == (0, 0)


async def test_when_somebody_was_seen_does_not_go_back(
    messenger_db: MessengerDatabase, journal: Journal
) -> None:
    """Two gateways would make somebody seen last earlier than they were."""
    await journal.write(Writes(presence={ALICE: (True, 10), BOB: (True, 20)}))
    await journal.write(Writes(presence={ALICE: (True, 5), BOB: (True, 30)}))
    rows = messenger_db.write(lambda c: c.execute(select(presence.c.user_id, presence.c.last_seen_at)).all())
    assert {row.user_id: row.last_seen_at for row in rows} == {ALICE: 10, BOB: 30}


async def test_presence_is_an_entry_of_the_log_where_it_changes(
    messenger_db: MessengerDatabase, journal: Journal
) -> None:
    """Companions would be told again and again that somebody is there, or never that they went."""
    for online, at, expected in [
        (False, 10, []),
        (True, 20, [PresenceChanged(ALICE, True, 20)]),
        (True, 30, []),
        (False, 40, [PresenceChanged(ALICE, False, 40)]),
        (False, 50, []),
    ]:
        await journal.write(writes := Writes(presence={ALICE: (online, at)}))
        assert writes.others == expected
        assert (writes.position is not None) == bool(expected)
    logged = [entry for commit in messenger_db.write(read_after, {}, 10) for entry in commit.entries]
    assert logged == [PresenceChanged(ALICE, True, 20), PresenceChanged(ALICE, False, 40)]


async def test_a_transaction_is_one_row_of_the_log(messenger_db: MessengerDatabase, journal: Journal) -> None:
    """Gateways that were cut off would miss a part of what one transaction wrote, or get it twice."""
    one, other = messenger_db.direct(ALICE, BOB), messenger_db.direct(ALICE, STRANGER)
    await journal.write(Writes([request(one, "a")]))
    writes = Writes(
        [request(one, "b", "c"), request(other, "d"), request(one, "e")],
        receipts={(one, BOB): (1, 1), (one, ALICE): (1, 1)},
        presence={BOB: (True, 7)},
    )
    await journal.write(writes)
    assert writes.position == Position(1, 2)
    assert set(writes.appended) == {MessagesAppended(one, 2, 4, 1), MessagesAppended(other, 1, 1, 1)}
    # Alice has read what she wrote: her receipt moved nothing more
    assert writes.others == [ReceiptMoved(one, BOB, 1, 1), PresenceChanged(BOB, True, 7)]
    (commit,) = messenger_db.write(read_after, {1: 1}, 10)
    assert commit == (writes.position, [*writes.appended, *writes.others])


async def test_what_touches_nothing_is_not_logged(messenger_db: MessengerDatabase, journal: Journal) -> None:
    """Readers who scroll through what they have read would fill the log."""
    chat_id = messenger_db.direct(ALICE, BOB)
    stale = request(chat_id, "a", version=0)
    await journal.write(writes := Writes([stale], receipts={(chat_id, BOB): (5, 5)}, activity={chat_id: 9}))
    assert stale.stale
    assert writes.position is None
    assert messenger_db.write(read_newest) == {1: 0}


def damage(messenger_db: MessengerDatabase, chat_id: bytes) -> None:
    """Makes the next message of a chat get a seq that is taken."""
    messenger_db.write(lambda c: c.execute(update(chats).where(chats.c.id == chat_id).values(last_seq=0)))


async def test_a_send_that_fails_fails_no_other(messenger_db: MessengerDatabase, journal: Journal) -> None:
    """One damaged chat would keep everybody from writing."""
    damaged, whole = messenger_db.direct(ALICE, BOB), messenger_db.direct(ALICE, STRANGER)
    await journal.write(Writes([request(damaged, "a"), known := request(whole, "b")]))
    damage(messenger_db, damaged)
    batch = [
        request(whole, "c"),
        request(damaged, "d", "e"),
        request(whole, "b", client_ids=known.client_ids),
        request(whole, "f"),
    ]
    writes = Writes(batch, receipts={(whole, STRANGER): (1, 1)}, presence={BOB: (True, 7)})
    await journal.write(writes)
    assert writes.error is None
    assert [send.error is None for send in batch] == [True, False, True, True]
    assert [message.text for message in messenger_db.history(whole)] == ["b", "c", "f"]
    assert [message.text for message in messenger_db.history(damaged)] == ["a"]
    assert stored_keys(batch[2]) == stored_keys(known)
    assert (batch[0].first_seq, batch[3].first_seq) == (2, 3)
    assert {(entry.chat_id, entry.first_seq, entry.last_seq) for entry in writes.appended} == {  # type: ignore[attr-defined] # of messages
        (whole, 2, 2),
        (whole, 3, 3),
    }
    assert writes.others == [ReceiptMoved(whole, STRANGER, 1, 1), PresenceChanged(BOB, True, 7)]
    # Nothing of the failed send stays: its client ids are free
    keys = messenger_db.write(lambda c: c.execute(select(message_keys.c.client_id)).scalars().all())
    assert not set(keys) & set(batch[1].client_ids)


async def test_a_send_that_fails_alone_fails_nothing_beside_it(
    messenger_db: MessengerDatabase, journal: Journal
) -> None:
    """Receipts and presence of others would be lost with each try to write into a damaged chat."""
    damaged, whole = messenger_db.direct(ALICE, BOB), messenger_db.direct(ALICE, STRANGER)
    await journal.write(Writes([request(damaged, "a"), request(whole, "b")]))
    damage(messenger_db, damaged)
    failing = request(damaged, "c")
    writes = Writes([failing], receipts={(whole, STRANGER): (1, 1)}, presence={BOB: (True, 7)})
    await journal.write(writes)
    assert failing.error is not None
    assert writes.stored_receipts == {(whole, STRANGER): (1, 1, True)}
    assert writes.others == [ReceiptMoved(whole, STRANGER, 1, 1), PresenceChanged(BOB, True, 7)]
