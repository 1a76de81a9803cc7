"""Members in memory."""

import asyncio
from collections.abc import Callable

import pytest
import pytest_asyncio
from sqlalchemy import Connection, insert, select, text

from palaver.contracts.errors import NOT_FOUND, UNAVAILABLE, PalaverError
from palaver.contracts.ids import new_id
from palaver.messenger.events import MessagesAppended
from palaver.messenger.realtime.followed import FollowedPositions
from palaver.messenger.realtime.memberships import CachedChat, Found, Memberships
from palaver.messenger.store.chats import add_members, remove_member
from palaver.messenger.store.commit_log import append_commit, read_newest
from palaver.messenger.store.members import read_companions
from palaver.messenger.store.schema import chats, presence
from palaver.runtime.sql.sqlite import SqliteDatabase
from tests.harness.journal_rows import write_messages
from tests.harness.messenger_database import MessengerDatabase
from tests.harness.waiting import eventually

ALICE, BOB, CAROL = new_id(), new_id(), new_id()


@pytest_asyncio.fixture
async def memberships(database: SqliteDatabase) -> Memberships:
    """Of a replica that has the database for itself."""
    return Memberships(database, FollowedPositions(), 100, is_shared=False)


@pytest.fixture
def group(messenger_db: MessengerDatabase) -> bytes:
    """A group of Alice and Bob."""
    return messenger_db.group([ALICE, BOB])


async def found_by(
    ask: Callable[[Callable[[Found], None]], None],
) -> Found:
    """What `ask(then)` calls `then` with."""
    found: list[Found] = []
    ask(found.append)
    await eventually(lambda: found, "a chat")
    return found[0]


async def test_a_member_finds_the_members(memberships: Memberships, group: bytes) -> None:
    """Nobody could send."""
    found = await found_by(lambda then: memberships.for_member(group, ALICE, then))
    assert isinstance(found, CachedChat)
    assert found.membership.members == {ALICE, BOB}
    assert (found.membership.group, found.delivery.delivered_seq) == (True, 0)
    # In memory now: without a wait
    again: list[Found] = []
    memberships.for_member(group, BOB, again.append)
    assert again == [found]
    assert memberships.with_member(group, BOB) is found


async def test_a_stranger_hears_the_same_of_a_chat_that_is_and_one_that_is_not(
    memberships: Memberships, group: bytes
) -> None:
    """Strangers could find out which chats exist (promise P5)."""
    errors = []
    for chat_id in (group, group, new_id()):
        error = await found_by(lambda then, chat_id=chat_id: memberships.for_member(chat_id, CAROL, then))
        assert isinstance(error, PalaverError)
        errors.append((error.kind, error.message, error.field))
    assert set(errors) == {(NOT_FOUND, "no such chat", "chat_id")}
    assert memberships.with_member(group, CAROL) is None


async def test_a_changed_membership_is_read_anew(
    messenger_db: MessengerDatabase, memberships: Memberships, group: bytes
) -> None:
    """New members would be refused, and former ones let in."""
    before = await found_by(lambda then: memberships.for_member(group, ALICE, then))
    assert isinstance(before, CachedChat)
    members = before.membership
    messenger_db.write(add_members, group, ALICE, [CAROL], 1, 100)
    messenger_db.write(remove_member, group, ALICE, BOB)
    memberships.invalidate(group)
    assert memberships.with_member(group, ALICE) is None
    after = await found_by(lambda then: memberships.for_member(group, CAROL, then))
    # How far the chat was delivered stays; what waiting sends hold is the membership of then
    assert after is before
    assert members.members == {ALICE, BOB}
    assert after.membership.members == {ALICE, CAROL}
    assert isinstance(await found_by(lambda then: memberships.for_member(group, BOB, then)), PalaverError)


async def test_a_change_during_a_read_reaches_those_who_wait_for_it(
    messenger_db: MessengerDatabase, memberships: Memberships, group: bytes
) -> None:
    """Who was removed a moment ago would be told what is said after that."""
    found: list[Found] = []
    memberships.for_chat(group, found.append)
    # The read begins, and sees the members of now; then they change
    await asyncio.sleep(0)
    messenger_db.write(remove_member, group, ALICE, BOB)
    memberships.invalidate(group)
    await eventually(lambda: found, "a chat")
    assert isinstance(found[0], CachedChat)
    assert found[0].membership.members == {ALICE}


async def test_calls_for_one_chat_keep_their_order(memberships: Memberships, group: bytes) -> None:
    """A sender's messages could change places while the chat is read."""
    order: list[int] = []
    for number in range(5):
        memberships.for_member(group, ALICE, lambda _, number=number: order.append(number))
        await asyncio.sleep(0)
    await eventually(lambda: len(order) == 5, "all called")
    assert order == sorted(order)


async def test_one_who_fails_does_not_stop_the_others(
    memberships: Memberships, messenger_db: MessengerDatabase, group: bytes
) -> None:
    """One cancelled request would end the service for all chats that are not in memory."""

    def fail(_: Found) -> None:
        raise asyncio.InvalidStateError("gave up")

    found: list[Found] = []
    memberships.for_member(group, ALICE, fail)
    memberships.for_member(group, ALICE, found.append)
    await eventually(lambda: found, "the second caller")
    other = messenger_db.group([ALICE, CAROL])
    assert isinstance(await found_by(lambda then: memberships.for_member(other, CAROL, then)), CachedChat)


async def test_a_read_that_fails_is_told_and_tried_again(
    messenger_db: MessengerDatabase, memberships: Memberships, group: bytes
) -> None:
    """A moment without the disk would lock chats until a restart, or call them gone."""
    messenger_db.write(lambda c: c.execute(text("ALTER TABLE members RENAME TO away")))
    error = await found_by(lambda then: memberships.for_member(group, ALICE, then))
    assert isinstance(error, PalaverError)
    assert error.kind is UNAVAILABLE
    messenger_db.write(lambda c: c.execute(text("ALTER TABLE away RENAME TO members")))
    assert isinstance(await found_by(lambda then: memberships.for_member(group, ALICE, then)), CachedChat)


async def test_telling_is_left_out_where_there_is_no_chat(memberships: Memberships) -> None:
    """A word about a chat that is gone would break the telling of others."""
    assert await memberships.chat(new_id()) is None


async def test_a_chat_that_cannot_be_read_is_not_taken_for_none(
    messenger_db: MessengerDatabase, memberships: Memberships, group: bytes
) -> None:
    """A moment without the disk would end in members who never receive what was written in it."""
    messenger_db.write(lambda c: c.execute(text("ALTER TABLE members RENAME TO away")))
    with pytest.raises(PalaverError) as caught:
        await memberships.chat(group)
    assert caught.value.kind is UNAVAILABLE
    messenger_db.write(lambda c: c.execute(text("ALTER TABLE away RENAME TO members")))
    assert await memberships.chat(group) is not None


async def test_a_stop_does_not_wait_for_those_who_go_on(
    memberships: Memberships, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One client that writes to chats which do not exist would keep a messenger from stopping, until it is
    killed with everybody's sends unanswered."""
    monkeypatch.setattr("palaver.messenger.realtime.memberships.STOP_SECONDS", 0.1)
    stopping = True

    def ignore(_found: Found) -> None:
        pass

    def go_on() -> None:
        if stopping:
            memberships.for_member(new_id(), ALICE, ignore)
            asyncio.get_running_loop().call_soon(go_on)

    go_on()
    try:
        async with asyncio.timeout(3):
            await memberships.stop()
    finally:
        stopping = False


async def test_a_chat_with_waiting_messages_stays_in_memory(
    messenger_db: MessengerDatabase, database: SqliteDatabase
) -> None:
    """Its messages would be told twice or never, because nobody knows how far it was told."""
    memberships = Memberships(database, FollowedPositions(), 3, is_shared=False)
    busy = await found_by(lambda then: memberships.for_member(messenger_db.group([ALICE]), ALICE, then))
    assert isinstance(busy, CachedChat)
    busy.pending = 1
    for _ in range(5):
        await found_by(lambda then: memberships.for_member(messenger_db.group([ALICE]), ALICE, then))
    assert memberships.get(busy.membership.chat_id) is busy
    # Beside those that may not go
    assert len(memberships._known) == 3 + 1


def write_logged(connection: Connection, chat_id: bytes, *texts: str) -> None:
    """Writes messages and their entry of the commit log."""
    write_messages(connection, chat_id, ALICE, texts)
    last_seq = connection.execute(select(chats.c.last_seq).where(chats.c.id == chat_id)).scalar_one()
    append_commit(connection, [MessagesAppended(chat_id, last_seq - len(texts) + 1, last_seq, 1)])


async def test_alone_all_that_is_committed_counts_as_told(
    messenger_db: MessengerDatabase, memberships: Memberships, group: bytes
) -> None:
    """The first message after a restart would be preceded by old ones."""
    messenger_db.write(write_logged, group, "a", "b")
    found = await found_by(lambda then: memberships.for_member(group, ALICE, then))
    assert isinstance(found, CachedChat)
    assert found.delivery.delivered_seq == 2


async def test_among_others_what_is_fresh_is_not_told_yet(
    messenger_db: MessengerDatabase, database: SqliteDatabase, group: bytes
) -> None:
    """What another replica wrote a moment ago would come behind what came after it (promise P2)."""
    followed = FollowedPositions()
    memberships = Memberships(database, followed, 100, is_shared=True)
    messenger_db.write(write_logged, group, "old")
    followed.begin(await database.read(read_newest))
    messenger_db.write(write_logged, group, "new", "new")
    messenger_db.write(write_logged, group, "newer")
    found = await found_by(lambda then: memberships.for_member(group, ALICE, then))
    assert isinstance(found, CachedChat)
    assert found.delivery.delivered_seq == 1
    first = messenger_db.group([ALICE])
    messenger_db.write(write_logged, first, "new")
    found = await found_by(lambda then: memberships.for_member(first, ALICE, then))
    assert isinstance(found, CachedChat)
    assert found.delivery.delivered_seq == 0


async def test_a_newcomer_may_be_another_replicas_doing(
    messenger_db: MessengerDatabase, database: SqliteDatabase, group: bytes
) -> None:
    """Somebody added through one replica would be refused by the others until their next change."""
    shared = Memberships(database, FollowedPositions(), 100, is_shared=True)
    assert isinstance(await found_by(lambda then: shared.for_member(group, ALICE, then)), CachedChat)
    messenger_db.write(add_members, group, ALICE, [CAROL], 1, 100)
    assert isinstance(await found_by(lambda then: shared.for_member(group, CAROL, then)), CachedChat)


async def test_companions_are_the_other_sides_of_direct_chats(
    messenger_db: MessengerDatabase, database: SqliteDatabase
) -> None:
    """Strangers of a large group would see when somebody is online."""
    messenger_db.group([ALICE, CAROL])
    assert await database.read(read_companions, ALICE, 10) == {}
    messenger_db.direct(ALICE, BOB)
    assert await database.read(read_companions, ALICE, 10) == {BOB: False}
    messenger_db.write(lambda c: c.execute(insert(presence).values(user_id=BOB, online=True, last_seen_at=1)))
    assert await database.read(read_companions, ALICE, 10) == {BOB: True}
    assert await database.read(read_companions, ALICE, 0) == {}
