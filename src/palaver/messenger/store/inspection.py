"""What the journal knows of one message, for operators: all but its text. Reads SQLite's file itself, so that
it needs no running messenger, and none of the libraries that one needs."""

import sqlite3
from typing import NamedTuple

from palaver.contracts.errors import NOT_FOUND, PalaverError
from palaver.messenger.domain import Member
from palaver.runtime.settings import Settings
from palaver.runtime.sql.read_only import reading
from palaver.runtime.sql.url import database_file


class JournalledMessage(NamedTuple):
    """A message without its text. Ids are 16 bytes, times microseconds since the epoch (0: never).

    `members`: all present and former members of its chat, in the order in which they joined.
    """

    chat_id: bytes
    seq: int
    id: bytes
    client_id: bytes
    sender_id: bytes
    created_at: int
    edited_at: int
    deleted_at: int
    trace_id: str
    is_group: bool
    members: list[Member]


_MESSAGE = """
    SELECT m.chat_id, m.seq, m.id, m.client_id, m.sender_id, m.created_at, coalesce(m.edited_at, 0),
        coalesce(m.deleted_at, 0), m.trace_id, c.kind = 2
    FROM messages m JOIN chats c ON c.id = m.chat_id
    WHERE m.chat_id = ? AND m.seq = ?
"""
_MEMBERS = """
    SELECT user_id, joined_at, left_seq, received_seq, read_seq
    FROM members WHERE chat_id = ? ORDER BY joined_at, user_id
"""
_LAST_SEQ = "SELECT last_seq FROM chats WHERE id = ?"


def inspect_message(settings: Settings, chat_id: bytes, seq: int) -> JournalledMessage:
    """A message. Raises `not_found`, and `StartError` where the journal cannot be read."""
    file = database_file(
        settings.messenger.database_url, settings.data_dir / "messenger.db", "messenger.database_url"
    )
    with reading(file) as connection:
        return find_message(connection, chat_id, seq)


def find_message(connection: sqlite3.Connection, chat_id: bytes, seq: int) -> JournalledMessage:
    """A message. Raises `not_found`."""
    row = connection.execute(_MESSAGE, (chat_id, seq)).fetchone()
    if row is None:
        chat = connection.execute(_LAST_SEQ, (chat_id,)).fetchone()
        if chat is None:
            raise PalaverError(NOT_FOUND, "the journal has no such chat", field="chat_id")
        reason = f"the journal has no message {seq} of this chat, whose last seq is {chat[0]}"
        raise PalaverError(NOT_FOUND, reason, field="seq")
    members = [Member(*member) for member in connection.execute(_MEMBERS, (chat_id,))]
    return JournalledMessage._make((*row[:-1], bool(row[-1]), members))
