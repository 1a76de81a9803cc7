"""Which seqs of a chat lie on which shard of the archive."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, bindparam, case, func, insert, or_, select, update

from palaver.messenger.store.schema import segments, shards
from palaver.runtime.sql.compiled_query import Query

# Of a statement that names many rows
CHUNK = 500


class Segment(NamedTuple):
    """A run of consecutive seqs, and the shard that has them. `changes` counts what changed in it."""

    chat_id: bytes
    first_seq: int
    last_seq: int
    shard_id: int
    changes: int
    host: str
    port: int


class Run(NamedTuple):
    """Consecutive seqs of a chat that have been archived just now; `oldest_at`: the least time of theirs."""

    chat_id: bytes
    first_seq: int
    last_seq: int
    oldest_at: int


class SegmentGapError(Exception):
    """What was archived does not follow what the chat's segments end with: somebody else archived too."""


_located = (
    select(
        segments.c.chat_id,
        segments.c.first_seq,
        segments.c.last_seq,
        segments.c.shard_id,
        segments.c.changes,
        shards.c.host,
        shards.c.port,
    )
    .join(shards, shards.c.id == segments.c.shard_id)
    .where(segments.c.chat_id == bindparam("chat_id"))
)
_overlapping = Query(
    _located.where(
        segments.c.first_seq <= bindparam("last"), segments.c.last_seq >= bindparam("first")
    ).order_by(segments.c.first_seq)
)
_ends = (
    select(segments.c.chat_id, func.max(segments.c.last_seq))
    .where(segments.c.chat_id.in_(bindparam("chat_ids", expanding=True)))
    .group_by(segments.c.chat_id)
)
_newest_starts = (
    select(segments.c.chat_id, func.max(segments.c.first_seq).label("first_seq"))
    .where(segments.c.chat_id.in_(bindparam("chat_ids", expanding=True)))
    .group_by(segments.c.chat_id)
    .subquery()
)
_newest = select(segments.c.chat_id, segments.c.first_seq, segments.c.last_seq, segments.c.shard_id).join(
    _newest_starts,
    and_(segments.c.chat_id == _newest_starts.c.chat_id, segments.c.first_seq == _newest_starts.c.first_seq),
)
_is_segment = and_(segments.c.chat_id == bindparam("of"), segments.c.first_seq == bindparam("start"))
_earlier = case(
    (or_(segments.c.trim_at.is_(None), segments.c.trim_at > bindparam("oldest_at")), bindparam("oldest_at")),
    else_=segments.c.trim_at,
)
_extend = update(segments).where(_is_segment).values(last_seq=bindparam("until"), trim_at=_earlier)
_note_changed = update(segments).where(_is_segment).values(changes=segments.c.changes + 1, trim_at=_earlier)
_claim = (
    update(segments)
    .where(_is_segment, segments.c.changes == bindparam("seen"))
    .values(changes=segments.c.changes + 1)
)


def chunks_of(values: Iterable[bytes]) -> Iterable[list[bytes]]:
    """The values in pieces that one statement takes."""
    all_of_them = list(values)
    for start in range(0, len(all_of_them), CHUNK):
        yield all_of_them[start : start + CHUNK]


def read_segments(connection: Connection, chat_id: bytes, first: int, last: int) -> list[Segment]:
    """The segments of a chat that have any of these seqs, in their order."""
    given = {"chat_id": chat_id, "first": first, "last": last}
    return [Segment._make(row) for row in _overlapping.rows(connection, given)]


def read_archived_ends(connection: Connection, chat_ids: Iterable[bytes]) -> dict[bytes, int]:
    """The last seq that is archived, of those of the chats of which any is."""
    found: dict[bytes, int] = {}
    for chunk in chunks_of(chat_ids):
        found.update({row[0]: row[1] for row in connection.execute(_ends, {"chat_ids": chunk})})
    return found


def append_runs(connection: Connection, runs: Sequence[Run], shard_id: int) -> None:
    """Records what a shard has got: the chat's last segment grows where it lies there too, else a new one
    begins. Raises `SegmentGapError`."""
    newest = read_newest_segments(connection, [run.chat_id for run in runs])
    extended: list[dict[str, Any]] = []
    begun: list[dict[str, Any]] = []
    for chat_id, first_seq, last_seq, oldest_at in runs:
        start, end, newest_shard = newest.get(chat_id, (0, 0, -1))
        if first_seq != end + 1:
            raise SegmentGapError
        if newest_shard == shard_id:
            extended.append({"of": chat_id, "start": start, "until": last_seq, "oldest_at": oldest_at})
        else:
            row = {"chat_id": chat_id, "first_seq": first_seq, "last_seq": last_seq, "shard_id": shard_id}
            begun.append({**row, "trim_at": oldest_at})
            if end:
                # What the margin kept of the segment before may be pushed out of it
                extended.append({"of": chat_id, "start": start, "until": end, "oldest_at": oldest_at})
    if extended:
        connection.execute(_extend, extended)
    if begun:
        connection.execute(insert(segments), begun)


def read_newest_segments(
    connection: Connection, chat_ids: Iterable[bytes]
) -> dict[bytes, tuple[int, int, int]]:
    """First seq, last seq and shard of the last segment of each chat that has one."""
    found: dict[bytes, tuple[int, int, int]] = {}
    for chunk in chunks_of(chat_ids):
        for chat_id, *segment in connection.execute(_newest, {"chat_ids": chunk}):
            found[chat_id] = (segment[0], segment[1], segment[2])
    return found


def note_changed(connection: Connection, changed: Iterable[tuple[bytes, int, int]]) -> None:
    """Counts archived changes: (chat id, first seq of the segment, time of the message) each."""
    rows = [{"of": chat_id, "start": first, "oldest_at": at} for chat_id, first, at in changed]
    if rows:
        connection.execute(_note_changed, rows)


def claim_segment(connection: Connection, chat_id: bytes, first_seq: int, changes: int) -> bool:
    """Counts a change that is about to be made. False: another came first, after `changes` was read."""
    given = {"of": chat_id, "start": first_seq, "seen": changes}
    return connection.execute(_claim, given).rowcount == 1
