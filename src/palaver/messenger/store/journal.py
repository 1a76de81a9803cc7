"""The journal: the ordered, durable log that every message enters before anybody is told of it."""

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Protocol

from sqlalchemy import Connection

from palaver.contracts.errors import PalaverError
from palaver.contracts.ids import new_id
from palaver.contracts.times import now_us
from palaver.messenger.domain import Message
from palaver.messenger.sequencing import Append, ChatRow, Key, MessageRow, Plan, plan_append, suspect_keys
from palaver.runtime.sql.database import Database


@dataclass(slots=True)
class Writes:
    """What one transaction is asked to write.

    `receipts`: (chat id, user id) -> (received seq, read seq). `activity`: chat id -> time, for members'
    copies that lag. `seen`: user id -> time last seen. Filled in: `receipts_now`, for each of `receipts`
    whose user is a member, what is stored after the transaction, and whether it moved; `error`, where
    nothing is known to be written.
    """

    appends: list[Append] = field(default_factory=list)
    receipts: Mapping[tuple[bytes, bytes], tuple[int, int]] = field(default_factory=dict)
    activity: Mapping[bytes, int] = field(default_factory=dict)
    seen: Mapping[bytes, int] = field(default_factory=dict)

    receipts_now: dict[tuple[bytes, bytes], tuple[int, int, bool]] = field(default_factory=dict)
    error: PalaverError | None = None


# The sqlite3 module looks for an adapter of each parameter that is bytes or None, which costs 0.5 µs a time;
# of bytearrays, texts and numbers it knows that there is none.
as_blob = bytearray
SHORT_APPENDS = 2


class Journal(Protocol):
    """Writes batches. Everything else of the database is read and written by plain statements."""

    async def write(self, writes: Writes) -> None:
        """Writes all of `writes` in one transaction, and fills in the outcome of each append.

        On return it is on disk. Raises what the database raises, with nothing written.
        """
        ...


class KeyCollisionError(Exception):
    """A client id was used before by somebody who did not say `retry`."""


class SqliteJournal:
    """The journal on SQLite.

    Each statement takes many rows at once: the interpreter's lock is let go once a statement, and not once
    a row, so that the event loop runs while SQLite works (a row at a time each wait for the lock costs up to
    the interpreter's switch interval).
    """

    def __init__(self, database: Database, clock: Callable[[], int] = now_us) -> None:
        self._database = database
        self._clock = clock

    async def write(self, writes: Writes) -> None:
        """See `Journal.write`."""
        write = self._database.write_short if is_short(writes) else self._database.write
        try:
            await write(write_batch, writes, self._clock, look_first=False)
        except KeyCollisionError:
            await self._database.write(write_batch, writes, self._clock, look_first=True)


def is_short(writes: Writes) -> bool:
    """Whether a batch has so few messages that the event loop may wait for it. Larger ones come when there
    is much to do, and then the event loop has better things to do than to wait for the disk."""
    return len(writes.appends) <= SHORT_APPENDS and len(writes.activity) == 0 and len(writes.receipts) < 10


def write_batch(
    connection: Connection, writes: Writes, clock: Callable[[], int], *, look_first: bool
) -> None:
    """One transaction's statements. Raises `KeyCollisionError` where an unsuspected client id is known.

    The time is taken here, with the write lock held: waiting for that may take longer than catching up after
    a broken stream looks back, and a message older than its commit would be missed by it.
    """
    raw: sqlite3.Connection = connection.connection.driver_connection  # type: ignore[assignment]
    if writes.appends:
        batch = writes.appends
        rows = read_chats(raw, {append.audience.chat_id for append in batch})
        suspects = suspect_keys(batch, all_of_them=look_first)
        known = read_messages_by_key(raw, suspects) if suspects else {}
        write_plan(raw, plan_append(batch, rows, known, clock(), new_id))
    if writes.receipts:
        writes.receipts_now = move_receipts(raw, writes.receipts)
    if writes.activity:
        write_activity(raw, writes.activity)
    if writes.seen:
        run_rows(
            raw,
            "INSERT INTO presence (user_id, last_seen_at) VALUES {} ON CONFLICT (user_id) DO UPDATE "
            "SET last_seen_at = max(last_seen_at, excluded.last_seen_at)",
            list(writes.seen.items()),
        )


def write_plan(raw: sqlite3.Connection, plan: Plan) -> None:
    """Writes new messages, their keys, and what moves with them."""
    if not plan.messages:
        return
    rows = [
        (as_blob(chat_id), seq, as_blob(message_id), as_blob(sender), as_blob(client_id), *rest)
        for chat_id, seq, message_id, sender, client_id, *rest in plan.messages
    ]
    keys = [(client_id, chat_id, sender, seq) for chat_id, seq, _, sender, client_id, *_ in rows]
    try:
        run_rows(raw, "INSERT INTO message_keys (client_id, chat_id, sender_id, seq) VALUES {}", keys)
    except sqlite3.IntegrityError as error:
        raise KeyCollisionError from error
    run_rows(
        raw,
        "INSERT INTO messages (chat_id, seq, id, sender_id, client_id, text, created_at, trace_id) VALUES {}",
        rows,
    )
    run_rows(
        raw,
        "UPDATE chats SET last_seq = v.column2, active_at = v.column3 FROM (VALUES {}) AS v "
        "WHERE chats.id = v.column1",
        [(chat_id, *moved) for chat_id, moved in plan.chats.items()],
    )
    write_receipts(raw, [(*key, seq, seq) for key, seq in plan.receipts.items()])
    write_activity(raw, plan.activity)


def move_receipts(
    raw: sqlite3.Connection, asked: Mapping[tuple[bytes, bytes], tuple[int, int]]
) -> dict[tuple[bytes, bytes], tuple[int, int, bool]]:
    """Moves receipts that members asked for, as far as the chat reaches. Returns `Writes.receipts_now`."""
    found: dict[tuple[bytes, bytes], tuple[int, int, bool]] = {}
    keys = list(asked)
    for start, size in chunks(len(keys)):
        marks = ",".join(["(?,?)"] * size)
        rows = raw.execute(
            "SELECT m.chat_id, m.user_id, m.received_seq, m.read_seq, c.last_seq "  # noqa: S608 - question marks only
            "FROM members AS m JOIN chats AS c ON c.id = m.chat_id "
            f"WHERE m.left_seq IS NULL AND (m.chat_id, m.user_id) IN (VALUES {marks})",
            list(chain.from_iterable(keys[start : start + size])),
        )
        for chat_id, user_id, received_seq, read_seq, last_seq in rows.fetchall():
            asked_received, asked_read = asked[chat_id, user_id]
            read = max(read_seq, min(asked_read, last_seq))
            received = max(received_seq, read, min(asked_received, last_seq))
            found[chat_id, user_id] = (received, read, (received, read) != (received_seq, read_seq))
    write_receipts(raw, [(*key, now[0], now[1]) for key, now in found.items() if now[2]])
    return found


def write_receipts(raw: sqlite3.Connection, rows: Sequence[tuple[bytes, bytes, int, int]]) -> None:
    """Moves receipts (chat id, user id, received seq, read seq) forward, never back."""
    run_rows(
        raw,
        "UPDATE members SET received_seq = max(received_seq, v.column3, v.column4), "
        "read_seq = max(read_seq, v.column4) FROM (VALUES {}) AS v "
        "WHERE members.chat_id = v.column1 AND members.user_id = v.column2",
        rows,
    )


def write_activity(raw: sqlite3.Connection, activity: Mapping[bytes, int]) -> None:
    """Moves the members' copies of chats' activity."""
    run_rows(
        raw,
        "UPDATE members SET active_at = v.column2 FROM (VALUES {}) AS v "
        "WHERE members.chat_id = v.column1 AND members.left_seq IS NULL",
        list(activity.items()),
    )


def read_chats(raw: sqlite3.Connection, chat_ids: Iterable[bytes]) -> dict[bytes, ChatRow]:
    """The chats of a batch. The transaction has the write lock, so nobody moves them meanwhile."""
    found: dict[bytes, ChatRow] = {}
    ids = list(chat_ids)
    for start, size in chunks(len(ids)):
        marks = ",".join("?" * size)
        rows = raw.execute(
            f"SELECT id, last_seq, active_at, members_version FROM chats WHERE id IN ({marks})",  # noqa: S608 - question marks only
            ids[start : start + size],
        )
        for chat_id, *row in rows.fetchall():
            found[chat_id] = ChatRow(*row)
    return found


def read_messages_by_key(raw: sqlite3.Connection, keys: Sequence[Key]) -> dict[Key, Message]:
    """The messages that the keys name, where they name one."""
    found: dict[Key, Message] = {}
    for start, size in chunks(len(keys)):
        marks = ",".join(["(?,?,?)"] * size)
        rows = raw.execute(
            "SELECT m.chat_id, m.seq, m.id, m.sender_id, k.client_id, m.text, m.created_at, "  # noqa: S608 - question marks only
            "ifnull(m.edited_at, 0), ifnull(m.deleted_at, 0), m.trace_id "
            f"FROM message_keys AS k JOIN messages AS m ON m.chat_id = k.chat_id AND m.seq = k.seq "
            f"WHERE (k.chat_id, k.sender_id, k.client_id) IN (VALUES {marks})",
            list(chain.from_iterable(keys[start : start + size])),
        )
        for row in rows.fetchall():
            message = Message(*row)
            found[message.chat_id, message.sender_id, message.client_id] = message
    return found


LARGEST_CHUNK = 256


def chunks(count: int) -> Iterable[tuple[int, int]]:
    """(start, size) of pieces whose sizes are powers of two: few different statements, all of them cached."""
    start = 0
    size = LARGEST_CHUNK
    while start < count:
        while size > count - start:
            size >>= 1
        yield start, size
        start += size


_statements: dict[tuple[str, int], str] = {}


def run_rows(raw: sqlite3.Connection, statement: str, rows: Sequence[tuple[Any, ...] | MessageRow]) -> None:
    """Runs `statement`, whose `{}` takes the rows' question marks, over all rows, many at a time."""
    for start, size in chunks(len(rows)):
        sql = _statements.get((statement, size))
        if sql is None:
            marks = "(" + ",".join("?" * len(rows[0])) + ")"
            sql = _statements[statement, size] = statement.format(",".join([marks] * size))
        raw.execute(sql, list(chain.from_iterable(rows[start : start + size])))
