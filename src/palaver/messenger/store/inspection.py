"""What the store has of one message and its chat's members, for operators: all but the text."""

from dataclasses import replace
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, select

from palaver.contracts.errors import NOT_FOUND, PalaverError
from palaver.messenger.domain import Member, Message
from palaver.messenger.store.messages import MESSAGE
from palaver.messenger.store.schema import GROUP, chats, members, messages


class MessageInspection(NamedTuple):
    """A message without its text, and all present and former members, in the order in which they joined."""

    message: Message
    is_group: bool
    members: list[Member]


_chat = select(chats.c.kind, chats.c.last_seq).where(chats.c.id == bindparam("chat_id"))
_message = select(*MESSAGE).where(
    messages.c.chat_id == bindparam("chat_id"), messages.c.seq == bindparam("seq")
)
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


def inspect_message(connection: Connection, chat_id: bytes, seq: int) -> MessageInspection:
    """A message, whoever its members are. Raises `not_found`, naming what is not there."""
    chat = connection.execute(_chat, {"chat_id": chat_id}).first()
    if chat is None:
        raise PalaverError(NOT_FOUND, "the journal has no such chat", field="chat_id")
    row: Any = connection.execute(_message, {"chat_id": chat_id, "seq": seq}).first()
    if row is None:
        reason = f"the journal has no message {seq} of this chat, whose last seq is {chat.last_seq}"
        raise PalaverError(NOT_FOUND, reason, field="seq")
    found = [Member(*member) for member in connection.execute(_members, {"chat_id": chat_id})]
    return MessageInspection(replace(Message(*row), text=""), chat.kind == GROUP, found)
