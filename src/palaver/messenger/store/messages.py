"""The one reader of messages: everything that shows, repeats or changes a message reaches it through here.

A message that leaves the journal for an archive is read by another adapter of `MessageReader`; whoever uses
the port does not notice.
"""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from sqlalchemy import Connection, Select, bindparam, func, insert, select, tuple_, update

from palaver.contracts.errors import CONFLICT, FORBIDDEN, NOT_FOUND, PalaverError
from palaver.messenger.domain import Message, Receipt
from palaver.messenger.store.members import Standing, check_member, read_standing
from palaver.messenger.store.receipts import read_receipts
from palaver.messenger.store.schema import DIRECT, chats, members, messages
from palaver.messenger.store.segments import claim_segment
from palaver.runtime.sql.compiled_query import Query
from palaver.runtime.sql.database import Database
from palaver.runtime.texts import bytes_of

# A page ends early at so many bytes of texts: others decide how long those are, and whoever waits for the
# page, or behind it, waits for its bytes
PAGE_BYTES = 1024 * 1024
# Rows fetched at once, so that a page of very long texts is not read far beyond its end
FETCHED_ROWS = 100
# Pages of a resume: each waits in memory for a socket that may read slowly
STREAM_MESSAGES = 200
# In JSON a byte may be six, and a page must fit what may wait for a socket
STREAM_BYTES = 128 * 1024
# What a list of chats shows of a last message
PREVIEW_CHARACTERS = 256
PREVIEW_BYTES = 1_024

Place = tuple[bytes, int]
Rows = Sequence[tuple[Any, ...]]


class Page(NamedTuple):
    """Messages of a chat, ascending by seq.

    `rows` have the fields of `domain.Message` in their order; no objects are made of them, since a page is
    read far more often than anything is done with one message. `last_seq` is the last seq that the reader
    may read, `read_seq` how far the reader has read, `left` whether the reader is a former member.
    """

    rows: Rows
    last_seq: int
    read_seq: int
    left: bool
    receipts: Sequence[Receipt]


class ArchivedMessage(NamedTuple):
    """A message that is in the archive alone, in the segment that begins with `first_seq`.

    `changes`: of the segment, as they were counted before the message was read.
    """

    message: Message
    first_seq: int
    changes: int


class MessageArchivedError(Exception):
    """Whoever changes a message that has left the journal must bring it along, as `ArchivedMessage`."""


# Places in a row
SEQ = Message._fields.index("seq")
TEXT = Message._fields.index("text")


class MessageReader(Protocol):
    """Reads messages, wherever they are. All raise `unavailable` where a part of them can't be reached
    now."""

    async def page(
        self, chat_id: bytes, user_id: bytes, limit: int, *, before: int, after: int | None
    ) -> Page:
        """The first `limit` messages behind `after` or, where that is None, the last `limit` before `before`
        (0: before the end). Raises `not_found` for whoever is not a present or former member."""
        ...

    async def after(self, chat_id: bytes, after: int, until: int) -> list[Message]:
        """The next messages of a chat behind `after` up to `until`, some hundreds at most; empty: there are
        none."""
        ...

    async def readable_after(
        self, chat_id: bytes, user_id: bytes, after: int
    ) -> tuple[list[Message], int] | None:
        """The same as far as a user may read, and the last seq of all that; None: the chat is not theirs."""
        ...

    async def readable_ends(self, user_id: bytes, chat_ids: Sequence[bytes]) -> Mapping[bytes, int]:
        """The last seq that a user may read, of each of the chats that are theirs."""
        ...

    async def at(self, places: Sequence[Place]) -> Mapping[Place, Message]:
        """The messages at these places (chat id, seq), where there are such."""
        ...

    async def previews(self, places: Sequence[Place]) -> Mapping[Place, Message]:
        """The same, but of a text longer than a preview only the beginning, which is longer too. What cannot
        be reached now is left out: a list of chats does without."""
        ...

    async def archived(self, chat_id: bytes, seq: int) -> ArchivedMessage | None:
        """A message that is not in the journal, for whoever is about to change it; None: nobody has it."""
        ...


class SqlMessageReader:
    """Messages that are in the journal's own table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, chat_id: bytes, user_id: bytes, limit: int, *, before: int, after: int | None
    ) -> Page:
        """See `MessageReader.page`."""
        return await self._database.read_short(read_page, chat_id, user_id, limit, before, after)

    async def after(self, chat_id: bytes, after: int, until: int) -> list[Message]:
        """See `MessageReader.after`."""
        return await self._database.read(read_after, chat_id, after, until)

    async def readable_after(
        self, chat_id: bytes, user_id: bytes, after: int
    ) -> tuple[list[Message], int] | None:
        """See `MessageReader.readable_after`."""
        return await self._database.read(read_readable_after, chat_id, user_id, after)

    async def readable_ends(self, user_id: bytes, chat_ids: Sequence[bytes]) -> Mapping[bytes, int]:
        """See `MessageReader.readable_ends`."""
        return await self._database.read(read_readable_ends, user_id, chat_ids) if chat_ids else {}

    async def at(self, places: Sequence[Place]) -> Mapping[Place, Message]:
        """See `MessageReader.at`."""
        return await self._database.read_short(read_at, places) if places else {}

    async def previews(self, places: Sequence[Place]) -> Mapping[Place, Message]:
        """See `MessageReader.previews`."""
        return await self._database.read(read_at, places, PREVIEWS_AT) if places else {}

    async def archived(self, chat_id: bytes, seq: int) -> ArchivedMessage | None:  # noqa: ARG002 - there is no archive
        """See `MessageReader.archived`."""
        return None


# The columns of `domain.Message`, in the order of its fields
COLUMNS = [
    func.coalesce(column, 0) if column.nullable else column
    for column in (messages.c[name] for name in Message._fields)
]
_of_chat = select(*COLUMNS).where(messages.c.chat_id == bindparam("chat_id"))
_backwards = Query(
    _of_chat.where(messages.c.seq <= bindparam("until"))
    .order_by(messages.c.seq.desc())
    .limit(bindparam("limit"))
)
_forwards = Query(
    _of_chat.where(messages.c.seq > bindparam("after"), messages.c.seq <= bindparam("until"))
    .order_by(messages.c.seq)
    .limit(bindparam("limit"))
)
_is_at = tuple_(messages.c.chat_id, messages.c.seq).in_(bindparam("places", expanding=True))
AT = select(*COLUMNS).where(_is_at)
_preview = func.substr(messages.c.text, 1, PREVIEW_BYTES + 1)
PREVIEWS_AT = select(*(_preview if column is messages.c.text else column for column in COLUMNS)).where(_is_at)
# As `readable_seq` has it
_readable_ends = (
    select(members.c.chat_id, func.coalesce(members.c.left_seq, chats.c.last_seq))
    .join(chats, chats.c.id == members.c.chat_id)
    .where(
        members.c.user_id == bindparam("user_id"),
        members.c.chat_id.in_(bindparam("chat_ids", expanding=True)),
    )
)
# Where rows can be locked: two changes of one message wait for each other
_locked = _of_chat.where(messages.c.seq == bindparam("seq")).with_for_update()
_change = (
    update(messages)
    .where(messages.c.chat_id == bindparam("of"), messages.c.seq == bindparam("place"))
    .values(
        text=bindparam("new_text"),
        edited_at=bindparam("edited"),
        deleted_at=bindparam("deleted"),
        changes=messages.c.changes + 1,
    )
)


def read_page(
    connection: Connection, chat_id: bytes, user_id: bytes, limit: int, before: int, after: int | None
) -> Page:
    """See `MessageReader.page`."""
    standing = read_standing(connection, chat_id, user_id)
    left = standing.left_seq is not None
    end = readable_seq(standing)
    given: dict[str, Any] = {"chat_id": chat_id, "limit": limit}
    if after is None:
        given["until"] = min(before - 1, end) if before else end
        rows = fetch_rows(connection, _backwards, given, PAGE_BYTES)
        rows.reverse()
    else:
        # min: a seq of the wire may be larger than the database's integers
        given.update(after=min(after, end), until=end)
        rows = fetch_rows(connection, _forwards, given, PAGE_BYTES)
    receipts = read_receipts(connection, chat_id, user_id, direct=standing.kind == DIRECT, left=left)
    return Page(rows, end, standing.read_seq, left, receipts)


def readable_seq(standing: Standing) -> int:
    """The last seq that a present or former member may read."""
    return standing.last_seq if standing.left_seq is None else standing.left_seq


def read_after(connection: Connection, chat_id: bytes, after: int, until: int) -> list[Message]:
    """See `MessageReader.after`."""
    given = {"chat_id": chat_id, "after": after, "until": until, "limit": STREAM_MESSAGES}
    return [Message._make(row) for row in fetch_rows(connection, _forwards, given, STREAM_BYTES)]


def read_readable_after(
    connection: Connection, chat_id: bytes, user_id: bytes, after: int
) -> tuple[list[Message], int] | None:
    """See `MessageReader.readable_after`."""
    try:
        until = readable_seq(read_standing(connection, chat_id, user_id))
    except PalaverError:
        return None
    return read_after(connection, chat_id, min(after, until), until), until


def read_readable_ends(connection: Connection, user_id: bytes, chat_ids: Sequence[bytes]) -> dict[bytes, int]:
    """See `MessageReader.readable_ends`."""
    given = {"user_id": user_id, "chat_ids": list(chat_ids)}
    return {row[0]: row[1] for row in connection.execute(_readable_ends, given)}


def read_at(
    connection: Connection, places: Iterable[Place], query: "Select[Any]" = AT
) -> dict[Place, Message]:
    """See `MessageReader.at`."""
    found = connection.execute(query, {"places": list(places)})
    return {(row[0], row[SEQ]): Message._make(row) for row in found}


def fetch_rows(
    connection: Connection, query: Query, given: dict[str, Any], most_bytes: int
) -> list[tuple[Any, ...]]:
    """The rows of a page, fewer where their texts are long, but never none where there are any."""
    rows: list[tuple[Any, ...]] = []
    room = most_bytes
    with contextlib.closing(query.run(connection, given)) as cursor:
        while part := cursor.fetchmany(FETCHED_ROWS):
            for row in part:
                room -= bytes_of(row[TEXT])
                if room < 0 and rows:
                    return rows
                rows.append(row)
            if len(part) < FETCHED_ROWS:
                break
    return rows


# ---- one's own messages ----


def edit_message(
    connection: Connection,
    chat_id: bytes,
    user_id: bytes,
    seq: int,
    text: str,
    now: int,
    archived: ArchivedMessage | None = None,
) -> Message:
    """The message with its new text.

    Raises `not_found` for who is no member and where there is no such message, `forbidden` where it is
    somebody else's, `conflict` where it is deleted, and `MessageArchivedError`.
    """
    message = lock_own_message(connection, chat_id, user_id, seq, archived)
    if message.deleted_at:
        raise PalaverError(CONFLICT, "the message is deleted", field="seq")
    return store_change(connection, message._replace(text=text, edited_at=max(now, message.created_at)))


def delete_message(
    connection: Connection,
    chat_id: bytes,
    user_id: bytes,
    seq: int,
    now: int,
    archived: ArchivedMessage | None = None,
) -> tuple[Message, bool]:
    """What is left of the message, and whether this call deleted it.

    Raises as `edit_message` does, but for a deleted one, which is returned as it is.
    """
    message = lock_own_message(connection, chat_id, user_id, seq, archived)
    if message.deleted_at:
        return message, False
    deleted = message._replace(text="", deleted_at=max(now, message.created_at))
    return store_change(connection, deleted), True


def lock_own_message(
    connection: Connection, chat_id: bytes, user_id: bytes, seq: int, archived: ArchivedMessage | None
) -> Message:
    """A message of the user's, locked where rows can be, and in the journal.

    Raises `not_found`, `forbidden`, and `MessageArchivedError`.
    """
    standing = check_member(read_standing(connection, chat_id, user_id))
    if not 0 < seq <= standing.last_seq:
        raise PalaverError(NOT_FOUND, "no such message", field="seq")
    row: Any = connection.execute(_locked, {"chat_id": chat_id, "seq": seq}).first()
    if row is not None:
        return check_own(Message._make(row), user_id)
    if archived is None:
        raise MessageArchivedError
    message = check_own(archived.message, user_id)
    return_to_journal(connection, archived)
    return message


def check_own(message: Message, user_id: bytes) -> Message:
    """Raises `forbidden` for somebody else's message."""
    if message.sender_id != user_id:
        raise PalaverError(FORBIDDEN, "the message is somebody else's", field="seq")
    return message


def return_to_journal(connection: Connection, archived: ArchivedMessage) -> None:
    """Puts a message back into the journal, where its change is as safe as any other; the archiver follows.

    Raises `MessageArchivedError` where the segment has changed since the message was read.
    """
    message = archived.message
    if not claim_segment(connection, message.chat_id, archived.first_seq, archived.changes):
        raise MessageArchivedError
    row = message._asdict()
    row.update(edited_at=message.edited_at or None, deleted_at=message.deleted_at or None)
    connection.execute(insert(messages), row)


def store_change(connection: Connection, message: Message) -> Message:
    """Writes what may change of a message. Its seq and ids stay for ever."""
    connection.execute(
        _change,
        {
            "of": message.chat_id,
            "place": message.seq,
            "new_text": message.text,
            "edited": message.edited_at or None,
            "deleted": message.deleted_at or None,
        },
    )
    return message
