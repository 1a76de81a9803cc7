"""What the archiver reads from the journal and records there: plain statements over a connection."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, delete, insert, select, tuple_, update

from palaver.messenger.domain import Message
from palaver.messenger.store.leases import Lease, check_lease
from palaver.messenger.store.messages import COLUMNS, Place
from palaver.messenger.store.schema import archive_positions, chats, messages
from palaver.messenger.store.segments import (
    CHUNK,
    Run,
    append_runs,
    note_changed,
    read_archived_ends,
    read_segments,
)
from palaver.runtime.texts import bytes_of


class JournalRow(NamedTuple):
    """A message, and how many of its changes the archive lacks."""

    message: Message
    changes: int


class ChangedRow(NamedTuple):
    """A message that was changed after it was archived, and the segment that has it."""

    row: JournalRow
    shard_id: int
    first_seq: int


class UnarchivedChat(NamedTuple):
    """A chat of which the archive lacks the messages from `first_seq` on."""

    chat_id: bytes
    first_seq: int
    last_seq: int


_is_at = tuple_(messages.c.chat_id, messages.c.seq).in_(bindparam("places", expanding=True))
_rows = select(*COLUMNS, messages.c.changes).where(_is_at).order_by(messages.c.chat_id, messages.c.seq)
_next_chats = (
    select(chats.c.id, chats.c.last_seq)
    .where(chats.c.id > bindparam("behind"))
    .order_by(chats.c.id)
    .limit(bindparam("limit"))
)
_changed_places = select(messages.c.chat_id, messages.c.seq).where(
    messages.c.chat_id.in_(bindparam("chat_ids", expanding=True)), messages.c.changes > 0
)
# What was changed once more in between stays marked
_archived = (
    update(messages)
    .where(
        messages.c.chat_id == bindparam("of"),
        messages.c.seq == bindparam("place"),
        messages.c.changes == bindparam("seen"),
    )
    .values(changes=0)
)
_positions = select(archive_positions.c.writer, archive_positions.c.number)


# ---- what is to be archived ----


def read_new_rows(
    connection: Connection, wanted: Mapping[bytes, int], most_rows: int, most_bytes: int
) -> tuple[list[JournalRow], dict[bytes, int]]:
    """The messages that follow what is archived of each chat, up to the wanted seq, by chat and seq; and how
    far each chat is archived with them. Fewer where they are too many; of each chat without a hole.
    """
    ends = read_archived_ends(connection, wanted)
    places: list[Place] = []
    for chat_id, until in wanted.items():
        first = ends.get(chat_id, 0) + 1
        places += (
            (chat_id, seq) for seq in range(first, min(until, first + most_rows - len(places) - 1) + 1)
        )
        if len(places) >= most_rows:
            break
    rows = list(without_holes(read_rows(connection, places, most_bytes), ends))
    # A chat's rows may have come in two pieces
    rows.sort(key=lambda row: (row.message.chat_id, row.message.seq))
    ends.update((row.message.chat_id, row.message.seq) for row in rows)
    return rows, ends


def read_rows(connection: Connection, places: Sequence[Place], most_bytes: int) -> Iterable[JournalRow]:
    """The rows at some places, until their texts have so many bytes."""
    for start in range(0, len(places), CHUNK):
        for row in connection.execute(_rows, {"places": places[start : start + CHUNK]}):
            message = Message._make(row[:-1])
            most_bytes -= bytes_of(message.text)
            yield JournalRow(message, row[-1])
        if most_bytes <= 0:
            return


def without_holes(rows: Iterable[JournalRow], ends: Mapping[bytes, int]) -> Iterable[JournalRow]:
    """The rows that follow each other behind the end of their chat."""
    reached = dict(ends)
    for row in rows:
        chat_id, seq = row.message.chat_id, row.message.seq
        if seq == reached.get(chat_id, 0) + 1:
            reached[chat_id] = seq
            yield row


def read_changed(connection: Connection, places: Sequence[Place]) -> tuple[list[ChangedRow], list[Place]]:
    """Of changed messages, those that are to be archived again, and the places that need nothing: the archive
    has the change. What is in neither list is not archived yet at all."""
    found: list[ChangedRow] = []
    rows = {(row.message.chat_id, row.message.seq): row for row in read_rows(connection, places, 2**62)}
    settled: list[Place] = []
    for chat_id, seq in places:
        segment = next(iter(read_segments(connection, chat_id, seq, seq)), None)
        row = rows.get((chat_id, seq))
        if segment is not None and row is not None and row.changes:
            found.append(ChangedRow(row, segment.shard_id, segment.first_seq))
        elif segment is not None or row is None:
            settled.append((chat_id, seq))
    return found, settled


def read_unarchived(
    connection: Connection, behind: bytes, limit: int
) -> tuple[bytes | None, list[UnarchivedChat], list[Place]]:
    """Of the next chats by id: the last of them, or None where there is none; those of which messages are not
    archived; and changed messages."""
    found = [
        (row.id, row.last_seq) for row in connection.execute(_next_chats, {"behind": behind, "limit": limit})
    ]
    if not found:
        return None, [], []
    ids = [chat_id for chat_id, _ in found]
    ends = read_archived_ends(connection, ids)
    unarchived = [
        UnarchivedChat(chat_id, ends.get(chat_id, 0) + 1, last_seq)
        for chat_id, last_seq in found
        if last_seq > ends.get(chat_id, 0)
    ]
    changed: list[Place] = []
    for start in range(0, len(ids), CHUNK):
        rows = connection.execute(_changed_places, {"chat_ids": ids[start : start + CHUNK]})
        changed += ((row.chat_id, row.seq) for row in rows)
    return ids[-1], unarchived, changed


# ---- what has been archived ----


def record_rows(connection: Connection, lease: Lease, shard_id: int, rows: Sequence[JournalRow]) -> None:
    """Records new messages that a shard has got. Raises `LeaseLostError`, `SegmentGapError`."""
    check_lease(connection, lease)
    append_runs(connection, runs_of(rows), shard_id)
    mark_archived(connection, rows)


def record_changed(connection: Connection, lease: Lease, rows: Sequence[ChangedRow]) -> None:
    """Records changes that shards have got. Raises `LeaseLostError`."""
    check_lease(connection, lease)
    mark_archived(connection, [changed.row for changed in rows])
    note_changed(
        connection,
        [(one.row.message.chat_id, one.first_seq, one.row.message.created_at) for one in rows],
    )


def mark_archived(connection: Connection, rows: Iterable[JournalRow]) -> None:
    """Lets rows whose changes are archived be trimmed."""
    changed = [
        {"of": row.message.chat_id, "place": row.message.seq, "seen": row.changes}
        for row in rows
        if row.changes
    ]
    if changed:
        connection.execute(_archived, changed)


def runs_of(rows: Iterable[JournalRow]) -> list[Run]:
    """Rows by chat and seq, as runs."""
    runs: list[Run] = []
    for message, _ in rows:
        last = runs[-1] if runs else None
        if last is not None and last.chat_id == message.chat_id:
            oldest_at = min(last.oldest_at, message.created_at)
            runs[-1] = last._replace(last_seq=message.seq, oldest_at=oldest_at)
        else:
            runs.append(Run(message.chat_id, message.seq, message.seq, message.created_at))
    return runs


# ---- positions ----


def read_positions(connection: Connection) -> dict[int, int]:
    """How far the archiver has followed each writer; empty where it has never been through."""
    return {row.writer: row.number for row in connection.execute(_positions)}


def store_positions(connection: Connection, lease: Lease, vector: Mapping[int, int]) -> None:
    """Records how far everything is archived. Raises `LeaseLostError`."""
    check_lease(connection, lease)
    connection.execute(delete(archive_positions))
    if vector:
        rows: list[dict[str, Any]] = [
            {"writer": writer, "number": number} for writer, number in vector.items()
        ]
        connection.execute(insert(archive_positions), rows)
