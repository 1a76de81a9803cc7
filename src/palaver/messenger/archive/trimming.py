"""Trimming the journal: what the archive has, and the margin no longer keeps."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, delete, select, update

from palaver.messenger.store.leases import Lease, check_lease
from palaver.messenger.store.schema import chats, messages, segments
from palaver.runtime.sql.clock import database_now

# Of one transaction: senders wait for it where one writes at a time
SEGMENTS_AT_ONCE = 100
ROWS_AT_ONCE = 2_000
LOOK_AGAIN_US = 3_600_000_000


class Margin(NamedTuple):
    """What stays in the journal: the newest `messages` of each chat, and all of the last `hours`."""

    messages: int
    hours: float


_now = select(database_now())
_due = (
    select(segments.c.chat_id, segments.c.first_seq, segments.c.last_seq, chats.c.last_seq.label("chat_last"))
    .join(chats, chats.c.id == segments.c.chat_id)
    .where(segments.c.trim_at < bindparam("cutoff"))
    .order_by(segments.c.trim_at)
    .limit(bindparam("limit"))
)
_is_archived = (
    messages.c.chat_id == bindparam("of"),
    messages.c.seq >= bindparam("first"),
    messages.c.seq <= bindparam("last"),
    # A change that the archive lacks; where rows are locked, this is looked at once the change is there
    messages.c.changes == 0,
)
_is_old = messages.c.created_at < bindparam("cutoff")
_trimmable = (
    select(messages.c.seq).where(*_is_archived, _is_old).order_by(messages.c.seq).limit(bindparam("limit"))
)
_trim = delete(messages).where(*_is_archived, _is_old)
_next = select(messages.c.created_at).where(*_is_archived).order_by(messages.c.seq).limit(1)
_settle = (
    update(segments)
    .where(segments.c.chat_id == bindparam("of"), segments.c.first_seq == bindparam("start"))
    .values(trim_at=bindparam("at"))
)


def trim_journal(connection: Connection, lease: Lease, margin: Margin) -> int:
    """Deletes archived rows from the journal, the oldest first, some at a time. Returns how many segments it
    looked at: where it is 0, nothing is left to trim now.

    Raises `LeaseLostError`.
    """
    check_lease(connection, lease)
    now = connection.execute(_now).scalar_one()
    cutoff = now - int(margin.hours * 3_600_000_000)
    rows = ROWS_AT_ONCE
    looked_at = 0
    for row in connection.execute(_due, {"cutoff": cutoff, "limit": SEGMENTS_AT_ONCE}).all():
        if rows <= 0:
            break
        last = min(row.last_seq, row.chat_last - margin.messages)
        given = {"of": row.chat_id, "first": row.first_seq, "last": last, "cutoff": cutoff}
        rows -= trim_run(connection, given, rows)
        # The chat's next segment may push the rest of this one out of the margin
        rest_at = cutoff + LOOK_AGAIN_US if last < row.last_seq < row.chat_last else None
        settle_segment(connection, given, rest_at)
        looked_at += 1
    return looked_at


def trim_run(connection: Connection, given: dict[str, Any], most: int) -> int:
    """Deletes at most so many old rows of a run. Returns how many."""
    seqs: Iterable[int] = connection.execute(_trimmable, {**given, "limit": most}).scalars()
    found = list(seqs)
    if not found:
        return 0
    return connection.execute(_trim, {**given, "first": found[0], "last": found[-1]}).rowcount


def settle_segment(connection: Connection, given: dict[str, Any], rest_at: int | None) -> None:
    """Notes when the segment is looked at again: with its next row, at `rest_at`, or when it grows."""
    oldest = connection.execute(_next, given).scalar()
    at = rest_at if oldest is None else oldest
    connection.execute(_settle, {"of": given["of"], "start": given["first"], "at": at})
