"""What the store has of one message and its chat's members, for operators: all but the text."""

from typing import NamedTuple

from sqlalchemy import Connection, bindparam, select

from palaver.contracts.errors import NOT_FOUND, PalaverError
from palaver.messenger.domain import Member, MessageInspection
from palaver.messenger.store.messages import MessageReader
from palaver.messenger.store.schema import GROUP, chats, members
from palaver.runtime.sql.database import Database

_chat = select(chats.c.kind, chats.c.last_seq).where(chats.c.id == bindparam("chat_id"))
_members = (
    select(
        members.c.user_id,
        members.c.joined_at,
        members.c.left_seq,
        members.c.received_seq,
        members.c.read_seq,
    )
    .where(members.c.chat_id == bindparam("chat_id"))
    .order_by(members.c.joined_at, members.c.user_id)
)


class ChatInspection(NamedTuple):
    """A chat's last seq, and all present and former members, in the order in which they joined."""

    is_group: bool
    last_seq: int
    members: list[Member]


def inspect_chat(connection: Connection, chat_id: bytes) -> ChatInspection:
    """A chat, whoever its members are. Raises `not_found`."""
    chat = connection.execute(_chat, {"chat_id": chat_id}).first()
    if chat is None:
        raise PalaverError(NOT_FOUND, "the journal has no such chat", field="chat_id")
    found = [Member(*member) for member in connection.execute(_members, {"chat_id": chat_id})]
    return ChatInspection(chat.kind == GROUP, chat.last_seq, found)


async def inspect_message(
    database: Database, reader: MessageReader, chat_id: bytes, seq: int
) -> MessageInspection:
    """A message, whoever its members are. Raises `not_found`, naming what is not there."""
    chat = await database.read(inspect_chat, chat_id)
    message = (await reader.at([(chat_id, seq)])).get((chat_id, seq))
    if message is None:
        reason = f"the journal has no message {seq} of this chat, whose last seq is {chat.last_seq}"
        raise PalaverError(NOT_FOUND, reason, field="seq")
    return MessageInspection(message._replace(text=""), chat.is_group, chat.members)
