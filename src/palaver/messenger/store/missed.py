"""What somebody missed: reading the journal for resumes, for holes and after a broken stream."""

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, func, select

from palaver.messenger.domain import Message
from palaver.messenger.store.messages import MESSAGE
from palaver.messenger.store.schema import chats, members, messages

PAGE_MESSAGES = 200
# A page ends early at so many characters, since it waits in memory for a socket that may read slowly.
PAGE_CHARACTERS = 128 * 1024
# Of more edits, or deletions, than these the newest are told after a broken stream.
MOST_CHANGES = 1_000

_after_query = (
    select(*MESSAGE)
    .where(messages.c.chat_id == bindparam("chat_id"), messages.c.seq > bindparam("after"))
    .where(messages.c.seq <= bindparam("until"))
    .order_by(messages.c.seq)
    .limit(PAGE_MESSAGES)
)
_backwards_query = (
    select(*MESSAGE)
    .where(messages.c.chat_id == bindparam("chat_id"), messages.c.seq <= bindparam("until"))
    .order_by(messages.c.seq.desc())
    .limit(PAGE_MESSAGES)
)
_bound_query = (
    select(func.coalesce(members.c.left_seq, chats.c.last_seq))
    .join(chats, chats.c.id == members.c.chat_id)
    .where(members.c.chat_id == bindparam("chat_id"), members.c.user_id == bindparam("user_id"))
)
_active_query = (
    select(members.c.chat_id)
    .where(members.c.user_id.in_(bindparam("users", expanding=True)))
    .where(members.c.active_at >= bindparam("since"))
    .distinct()
)
_edited_query = (
    select(*MESSAGE)
    .where(messages.c.edited_at >= bindparam("since"))
    .order_by(messages.c.edited_at.desc())
    .limit(MOST_CHANGES)
)
_deleted_query = (
    select(*MESSAGE)
    .where(messages.c.deleted_at >= bindparam("since"))
    .order_by(messages.c.deleted_at.desc())
    .limit(MOST_CHANGES)
)


def read_after(connection: Connection, chat_id: bytes, after: int, until: int) -> list[Message]:
    """The next page of a chat's messages behind `after`, up to `until`; empty where there are none."""
    page: list[Message] = []
    characters = 0
    for row in connection.execute(_after_query, {"chat_id": chat_id, "after": after, "until": until}):
        message = Message(*tuple(row))
        page.append(message)
        characters += len(message.text)
        if characters >= PAGE_CHARACTERS:
            break
    return page


def read_readable_page(
    connection: Connection, chat_id: bytes, user_id: bytes, after: int
) -> tuple[list[Message], int] | None:
    """The next page that a user may read, and the last seq of all that; None: the chat is not theirs."""
    until = connection.execute(_bound_query, {"chat_id": chat_id, "user_id": user_id}).scalar()
    if until is None:
        return None
    return read_after(connection, chat_id, after, until), until


def read_active_chats(connection: Connection, users: Sequence[bytes], since: int) -> list[bytes]:
    """The users' chats that got messages since a time."""
    return [row[0] for row in connection.execute(_active_query, {"users": list(users), "since": since})]


def read_since(
    connection: Connection, chat_ids: Sequence[bytes], since: int
) -> list[tuple[bytes, list[Message]]]:
    """Each chat's messages since a time, in order. Walks back from the newest, since times grow with seqs."""
    return [(chat_id, _read_chat_since(connection, chat_id, since)) for chat_id in chat_ids]


def _read_chat_since(connection: Connection, chat_id: bytes, since: int) -> list[Message]:
    found: list[Message] = []
    until = 2**62
    while True:
        page = connection.execute(_backwards_query, {"chat_id": chat_id, "until": until}).fetchall()
        for row in page:
            message = Message(*tuple(row))
            if message.created_at < since:
                return found[::-1]
            found.append(message)
        if len(page) < PAGE_MESSAGES:
            return found[::-1]
        until = found[-1].seq - 1


def read_changed_since(connection: Connection, since: int) -> list[Message]:
    """Messages of all chats that were edited or deleted since a time, each once, as they are now."""
    found: dict[tuple[bytes, int], Message] = {}
    for query in (_edited_query, _deleted_query):
        for row in connection.execute(query, {"since": since}):
            message = Message(*tuple(row))
            found[message.chat_id, message.seq] = message
    return list(found.values())
