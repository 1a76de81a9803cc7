"""What the journal knows of one message."""

import pytest

from palaver.contracts.errors import NOT_FOUND, PalaverError
from palaver.contracts.ids import new_id
from palaver.messenger.store.chats import remove_member
from palaver.messenger.store.inspection import inspect_message
from palaver.messenger.store.messages import SqlMessageReader, delete_message, edit_message
from palaver.runtime.sql.database import Database
from tests.harness.journal_rows import move_receipt, write_messages
from tests.harness.messenger_database import MessengerDatabase

ALICE, BOB, CAROL = new_id(), new_id(), new_id()


async def test_a_message_is_found_without_its_text(
    messenger_db: MessengerDatabase, database: Database
) -> None:
    """An operator could not say who sent a message, or would read it."""
    chat_id = messenger_db.group([ALICE, BOB, CAROL])
    messenger_db.write(write_messages, chat_id, ALICE, ["a secret", "another"], 100)
    messenger_db.write(move_receipt, chat_id, BOB, 2, 1)
    messenger_db.write(remove_member, chat_id, ALICE, CAROL)
    found = await inspect_message(database, SqlMessageReader(database), chat_id, 2)
    written = messenger_db.history(chat_id)[1]
    assert found.message == written._replace(text="")
    assert (found.message.sender_id, found.message.created_at, found.is_group) == (ALICE, 100, True)
    members = {
        member.user_id: (member.left_seq, member.received_seq, member.read_seq) for member in found.members
    }
    assert members == {ALICE: (None, 2, 2), BOB: (None, 2, 1), CAROL: (2, 0, 0)}
    assert "another" not in repr(found)


async def test_changes_are_told(messenger_db: MessengerDatabase, database: Database) -> None:
    """An operator would wonder why a client shows nothing."""
    chat_id = messenger_db.direct(ALICE, BOB)
    messenger_db.write(write_messages, chat_id, ALICE, ["one"], 100)
    messenger_db.write(edit_message, chat_id, ALICE, 1, "two", 200)
    messenger_db.write(delete_message, chat_id, ALICE, 1, 300)
    found = await inspect_message(database, SqlMessageReader(database), chat_id, 1)
    assert (found.message.edited_at, found.message.deleted_at, found.is_group) == (200, 300, False)


async def test_what_is_not_there_is_named(messenger_db: MessengerDatabase, database: Database) -> None:
    """An operator would not know whether the chat or the seq is wrong."""
    chat_id = messenger_db.direct(ALICE, BOB)
    messenger_db.write(write_messages, chat_id, ALICE, ["one"])
    with pytest.raises(PalaverError, match="no message 2 of this chat, whose last seq is 1") as caught:
        await inspect_message(database, SqlMessageReader(database), chat_id, 2)
    assert caught.value.kind is NOT_FOUND
    with pytest.raises(PalaverError, match="no such chat"):
        await inspect_message(database, SqlMessageReader(database), new_id(), 1)
