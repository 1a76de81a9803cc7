"""A chat's messages: reading them by seq, and changing one's own."""

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, func, select, update

from palaver.contracts.errors import CONFLICT, FORBIDDEN, NOT_FOUND, PalaverError
from palaver.messenger.domain import Message, Receipt
from palaver.messenger.store.chats import check_member, read_standing
from palaver.messenger.store.schema import DIRECT, members, messages
from palaver.runtime.sql.compiled_query import Query

# A page ends early at so many characters: it must fit a gRPC message, at up to 4 bytes each
PAGE_CHARACTERS = 4 * 1024 * 1024
# Rows fetched at once, so that a page of very long texts is not read far beyond its end
FETCHED_ROWS = 100


class Page(NamedTuple):
    """Messages of a chat, ascending by seq.

    `rows` have the fields of `domain.Message` in their order; no objects are made of them, since a page is
    read far more often than anything is done with one message. `last_seq` is the last seq that the reader
    may read, `read_seq` how far the reader has said to have read, `left` whether the reader is a former
    member.
    """

    rows: Sequence[tuple[Any, ...]]
    last_seq: int
    read_seq: int
    left: bool
    receipts: Sequence[Receipt]


# Places in a row
SEQ = 1
TEXT = 5

# The columns of `domain.Message`, in the order of its fields
MESSAGE = (
    messages.c.chat_id,
    messages.c.seq,
    messages.c.id,
    messages.c.sender_id,
    messages.c.client_id,
    messages.c.text,
    messages.c.created_at,
    func.coalesce(messages.c.edited_at, 0),
    func.coalesce(messages.c.deleted_at, 0),
    messages.c.trace_id,
)
_columns = select(*MESSAGE).where(messages.c.chat_id == bindparam("chat_id"))
_one = _columns.where(messages.c.seq == bindparam("seq"))
# Where rows can be locked: two changes of one message wait for each other
_locked_one = _one.with_for_update()
_backwards = Query(
    _columns.where(messages.c.seq <= bindparam("until"))
    .order_by(messages.c.seq.desc())
    .limit(bindparam("limit"))
)
_forwards = Query(
    _columns.where(messages.c.seq > bindparam("after"), messages.c.seq <= bindparam("until"))
    .order_by(messages.c.seq)
    .limit(bindparam("limit"))
)
_receipts = select(members.c.user_id, members.c.received_seq, members.c.read_seq).where(
    members.c.chat_id == bindparam("chat_id")
)
_present_receipts = _receipts.where(members.c.left_seq.is_(None))
_both_receipts = Query(_present_receipts)
_own_receipt = Query(_receipts.where(members.c.user_id == bindparam("user_id")))
_least_received = Query(_present_receipts.order_by(members.c.received_seq).limit(2))
_least_read = Query(_present_receipts.order_by(members.c.read_seq).limit(2))
_change = update(messages).where(
    messages.c.chat_id == bindparam("chat"), messages.c.seq == bindparam("place")
)


def read_page(
    connection: Connection, chat_id: bytes, user_id: bytes, limit: int, before: int, after: int | None
) -> Page:
    """The first `limit` messages behind `after` or, where that is None, the last `limit` before `before`
    (0: before the end).

    Raises `not_found` for who is no present or former member.
    """
    standing = read_standing(connection, chat_id, user_id)
    left = standing.left_seq is not None
    end = standing.last_seq if standing.left_seq is None else standing.left_seq
    given: dict[str, Any] = {"chat_id": chat_id, "limit": limit}
    if after is None:
        given["until"] = min(before - 1, end) if before else end
        rows = fetch_page(connection, _backwards, given)
        rows.reverse()
    else:
        # min: a seq of the wire may be larger than the database's integers
        given.update(after=min(after, end), until=end)
        rows = fetch_page(connection, _forwards, given)
    receipts = read_receipts(connection, chat_id, user_id, direct=standing.kind == DIRECT, left=left)
    return Page(rows, end, standing.read_seq, left, receipts)


def fetch_page(connection: Connection, query: Query, given: dict[str, Any]) -> list[tuple[Any, ...]]:
    """The rows of a page, fewer where their texts are long, but never none where there are any."""
    rows: list[tuple[Any, ...]] = []
    room = PAGE_CHARACTERS
    with contextlib.closing(query.run(connection, given)) as cursor:
        while part := cursor.fetchmany(FETCHED_ROWS):
            for row in part:
                room -= len(row[TEXT])
                if room < 0 and rows:
                    return rows
                rows.append(row)
            if len(part) < FETCHED_ROWS:
                break
    return rows


def read_receipts(
    connection: Connection, chat_id: bytes, user_id: bytes, *, direct: bool, left: bool
) -> list[Receipt]:
    """Receipts among which are the least two of all members, by received and by read seq.

    Somebody who left gets their own: how far others come later is not theirs to know.
    """
    given = {"chat_id": chat_id}
    rows: Iterable[tuple[Any, ...]]
    if left:
        rows = _own_receipt.rows(connection, {**given, "user_id": user_id})
    elif direct:
        rows = _both_receipts.rows(connection, given)
    else:
        # A set, since one member may be the least by both
        rows = {*_least_received.rows(connection, given), *_least_read.rows(connection, given)}
    return [Receipt(*row) for row in rows]


# ---- one's own messages ----


def edit_message(
    connection: Connection, chat_id: bytes, user_id: bytes, seq: int, text: str, now: int
) -> Message:
    """The message with its new text.

    Raises `not_found` for who is no member and where there is no such message, `forbidden` where it is
    somebody else's, `conflict` where it is deleted.
    """
    message = read_own_message(connection, chat_id, user_id, seq)
    if message.deleted_at:
        raise PalaverError(CONFLICT, "the message is deleted", field="seq")
    return change_message(connection, replace(message, text=text, edited_at=max(now, message.created_at)))


def delete_message(
    connection: Connection, chat_id: bytes, user_id: bytes, seq: int, now: int
) -> tuple[Message, bool]:
    """What is left of the message, and whether this call deleted it.

    Raises as `edit_message` does, but for a deleted one, which is given as it is.
    """
    message = read_own_message(connection, chat_id, user_id, seq)
    if message.deleted_at:
        return message, False
    deleted = replace(message, text="", deleted_at=max(now, message.created_at))
    return change_message(connection, deleted), True


def read_own_message(connection: Connection, chat_id: bytes, user_id: bytes, seq: int) -> Message:
    """A message of the user's, locked where rows can be. Raises `not_found`, `forbidden`."""
    standing = check_member(read_standing(connection, chat_id, user_id))
    row: Any = None
    if 0 < seq <= standing.last_seq:
        row = connection.execute(_locked_one, {"chat_id": chat_id, "seq": seq}).first()
    if row is None:
        raise PalaverError(NOT_FOUND, "no such message", field="seq")
    message = Message(*row)
    if message.sender_id != user_id:
        raise PalaverError(FORBIDDEN, "the message is somebody else's", field="seq")
    return message


def change_message(connection: Connection, message: Message) -> Message:
    """Writes what may change of a message. Its seq and ids stay for ever."""
    connection.execute(
        _change,
        {
            "chat": message.chat_id,
            "place": message.seq,
            "text": message.text,
            "edited_at": message.edited_at or None,
            "deleted_at": message.deleted_at or None,
        },
    )
    return message
