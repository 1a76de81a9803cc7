"""Members in memory."""

import asyncio
from collections.abc import Callable

import pytest
import pytest_asyncio
from sqlalchemy import text

from palaver.contracts.errors import NOT_FOUND, UNAVAILABLE, PalaverError
from palaver.contracts.ids import new_id
from palaver.contracts.times import now_us
from palaver.messenger.realtime.memberships import HEARD_US, Audience, Audiences, read_companions
from palaver.messenger.store.chats import add_members, remove_member
from palaver.runtime.sql.database import SqliteDatabase
from tests.harness.journal_rows import write_messages
from tests.harness.messenger_database import MessengerDatabase
from tests.harness.waiting import eventually

ALICE, BOB, CAROL = new_id(), new_id(), new_id()

Found = list[Audience | PalaverError]


@pytest_asyncio.fixture
async def audiences(database: SqliteDatabase) -> Audiences:
    """Of a replica that has the database for itself."""
    return Audiences(database, 100, lambda: True)


@pytest.fixture
def group(messenger_db: MessengerDatabase) -> bytes:
    """A group of Alice and Bob."""
    return messenger_db.group([ALICE, BOB])


async def found_by(
    ask: Callable[[Callable[[Audience | PalaverError], None]], None],
) -> Audience | PalaverError:
    """What `ask(then)` calls `then` with."""
    found: Found = []
    ask(found.append)
    await eventually(lambda: found, "an audience")
    return found[0]


async def test_a_member_finds_the_members(audiences: Audiences, group: bytes) -> None:
    """Nobody could send."""
    found = await found_by(lambda then: audiences.for_member(group, ALICE, then))
    assert isinstance(found, Audience)
    assert (found.members, found.group, found.told_seq) == ({ALICE, BOB}, True, 0)
    # In memory now: without a wait
    again: Found = []
    audiences.for_member(group, BOB, again.append)
    assert again == [found]
    assert audiences.member_of(group, BOB) is found


async def test_a_stranger_hears_the_same_of_a_chat_that_is_and_one_that_is_not(
    audiences: Audiences, group: bytes
) -> None:
    """Strangers could find out which chats exist (promise P5)."""
    errors = []
    for chat_id in (group, group, new_id()):
        error = await found_by(lambda then, chat_id=chat_id: audiences.for_member(chat_id, CAROL, then))
        assert isinstance(error, PalaverError)
        errors.append((error.kind, error.message, error.field))
    assert set(errors) == {(NOT_FOUND, "no such chat", "chat_id")}
    assert audiences.member_of(group, CAROL) is None


async def test_a_changed_membership_is_read_anew(
    messenger_db: MessengerDatabase, audiences: Audiences, group: bytes
) -> None:
    """New members would be refused, and former ones let in."""
    before = await found_by(lambda then: audiences.for_member(group, ALICE, then))
    messenger_db.write(add_members, group, ALICE, [CAROL], 1, 100)
    messenger_db.write(remove_member, group, ALICE, BOB)
    audiences.forget(group)
    assert audiences.member_of(group, ALICE) is None
    after = await found_by(lambda then: audiences.for_member(group, CAROL, then))
    assert after is before
    assert after.members == {ALICE, CAROL}
    assert isinstance(await found_by(lambda then: audiences.for_member(group, BOB, then)), PalaverError)


async def test_a_change_during_a_read_reaches_those_who_wait_for_it(
    messenger_db: MessengerDatabase, audiences: Audiences, group: bytes
) -> None:
    """Who was removed a moment ago would be told what is said after that."""
    found: Found = []
    audiences.for_chat(group, found.append)
    # The read begins, and sees the members of now; then they change
    await asyncio.sleep(0)
    messenger_db.write(remove_member, group, ALICE, BOB)
    audiences.forget(group)
    await eventually(lambda: found, "an audience")
    assert isinstance(found[0], Audience)
    assert found[0].members == {ALICE}


async def test_calls_for_one_chat_keep_their_order(audiences: Audiences, group: bytes) -> None:
    """A sender's messages could change places while the chat is read."""
    order: list[int] = []
    for number in range(5):
        audiences.for_member(group, ALICE, lambda _, number=number: order.append(number))
        await asyncio.sleep(0)
    await eventually(lambda: len(order) == 5, "all called")
    assert order == sorted(order)


async def test_one_who_fails_does_not_stop_the_others(
    audiences: Audiences, messenger_db: MessengerDatabase, group: bytes
) -> None:
    """One cancelled request would end the service for all chats that are not in memory."""

    def fail(_: Audience | PalaverError) -> None:
        raise asyncio.InvalidStateError("gave up")

    found: Found = []
    audiences.for_member(group, ALICE, fail)
    audiences.for_member(group, ALICE, found.append)
    await eventually(lambda: found, "the second caller")
    other = messenger_db.group([ALICE, CAROL])
    assert isinstance(await found_by(lambda then: audiences.for_member(other, CAROL, then)), Audience)


async def test_a_read_that_fails_is_told_and_tried_again(
    messenger_db: MessengerDatabase, audiences: Audiences, group: bytes
) -> None:
    """A moment without the disk would lock chats until a restart, or call them gone."""
    messenger_db.write(lambda c: c.execute(text("ALTER TABLE members RENAME TO away")))
    error = await found_by(lambda then: audiences.for_member(group, ALICE, then))
    assert isinstance(error, PalaverError)
    assert error.kind is UNAVAILABLE
    messenger_db.write(lambda c: c.execute(text("ALTER TABLE away RENAME TO members")))
    assert isinstance(await found_by(lambda then: audiences.for_member(group, ALICE, then)), Audience)


async def test_telling_is_left_out_where_there_is_no_chat(audiences: Audiences) -> None:
    """A word about a chat that is gone would break the telling of others."""
    found: Found = []
    audiences.for_telling(new_id(), found.append)
    await audiences.stop()
    assert found == []


async def test_a_chat_with_waiting_messages_stays_in_memory(
    messenger_db: MessengerDatabase, database: SqliteDatabase
) -> None:
    """Its messages would be told twice or never, because nobody knows how far it was told."""
    audiences = Audiences(database, 3, lambda: True)
    busy = await found_by(lambda then: audiences.for_member(messenger_db.group([ALICE]), ALICE, then))
    assert isinstance(busy, Audience)
    busy.pending = 1
    for _ in range(5):
        await found_by(lambda then: audiences.for_member(messenger_db.group([ALICE]), ALICE, then))
    assert audiences.get(busy.chat_id) is busy
    # Beside those that may not go
    assert len(audiences._known) == 3 + 1


async def test_alone_all_that_is_committed_counts_as_told(
    messenger_db: MessengerDatabase, audiences: Audiences, group: bytes
) -> None:
    """The first message after a restart would be preceded by old ones."""
    messenger_db.write(write_messages, group, ALICE, ["a", "b"], now_us())
    found = await found_by(lambda then: audiences.for_member(group, ALICE, then))
    assert isinstance(found, Audience)
    assert found.told_seq == 2


async def test_among_others_what_is_fresh_is_not_told_yet(
    messenger_db: MessengerDatabase, database: SqliteDatabase, group: bytes
) -> None:
    """What another replica wrote a moment ago would come behind what came after it (promise P2)."""
    audiences = Audiences(database, 100, lambda: False)
    messenger_db.write(write_messages, group, ALICE, ["old"], now_us() - 2 * HEARD_US)
    messenger_db.write(write_messages, group, ALICE, ["new", "new"], now_us())
    found = await found_by(lambda then: audiences.for_member(group, ALICE, then))
    assert isinstance(found, Audience)
    assert (found.told_seq, found.born_seq) == (1, 1)
    first = messenger_db.group([ALICE])
    messenger_db.write(write_messages, first, ALICE, ["new"], now_us())
    found = await found_by(lambda then: audiences.for_member(first, ALICE, then))
    assert isinstance(found, Audience)
    assert found.told_seq == 0


async def test_companions_are_the_other_sides_of_direct_chats(
    messenger_db: MessengerDatabase, database: SqliteDatabase
) -> None:
    """Strangers of a large group would see when somebody is online."""
    messenger_db.group([ALICE, CAROL])
    assert await database.read(read_companions, ALICE, 10) == []
    messenger_db.direct(ALICE, BOB)
    assert await database.read(read_companions, ALICE, 10) == [BOB]
    assert await database.read(read_companions, ALICE, 0) == []
