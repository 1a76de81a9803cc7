"""A message's story: what its journal and the accounts know of it, as the plain data of `watch.message`."""

from typing import Any

from palaver.auth.inspection import inspect_names
from palaver.contracts.ids import text_from_id
from palaver.contracts.times import rfc3339
from palaver.messenger.domain import Member
from palaver.messenger.store.inspection import JournalledMessage, inspect_message
from palaver.runtime.settings import Settings
from palaver.runtime.startup import StartError


def story_of_message(settings: Settings, chat_id: bytes, seq: int) -> dict[str, Any]:
    """All of the story but who was told. Raises `not_found`, and `StartError` where the journal cannot be
    read; where the accounts cannot, it has no names."""
    message = inspect_message(settings, chat_id, seq)
    ids = {message.sender_id, *(member.user_id for member in message.members)}
    try:
        names = inspect_names(settings, list(ids))
    except StartError:
        names = {}
    return {
        "chat_id": text_from_id(message.chat_id),
        "seq": message.seq,
        "kind": "group" if message.is_group else "direct",
        "id": text_from_id(message.id),
        "client_id": text_from_id(message.client_id),
        "sender": person(message.sender_id, names),
        "journalled_at": rfc3339(message.created_at),
        "edited_at": rfc3339(message.edited_at) if message.edited_at else None,
        "deleted_at": rfc3339(message.deleted_at) if message.deleted_at else None,
        "trace_id": message.trace_id,
        "members": [member_facts(member, message, names) for member in message.members],
    }


def person(user_id: bytes, names: dict[bytes, str]) -> dict[str, str]:
    """A user. `name` is empty where it is not known."""
    return {"user_id": text_from_id(user_id), "name": names.get(user_id, "")}


def member_facts(member: Member, message: JournalledMessage, names: dict[bytes, str]) -> dict[str, Any]:
    """What a present or former member is to a message."""
    return {
        **person(member.user_id, names),
        "is_sender": member.user_id == message.sender_id,
        # Who joins has received all that came before: it is history to them, and unread to nobody
        "joined_later": member.joined_at > message.created_at,
        "left_before": member.left_seq is not None and member.left_seq < message.seq,
        "received": member.received_seq >= message.seq,
        "read": member.read_seq >= message.seq,
    }
