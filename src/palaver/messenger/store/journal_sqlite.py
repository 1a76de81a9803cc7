"""The journal on SQLite."""

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain

from sqlalchemy import Connection

from palaver.contracts.ids import new_id
from palaver.contracts.times import now_us
from palaver.messenger.domain import NEW_FIELDS, Message
from palaver.messenger.events import Event, Position, PresenceChanged, ReceiptMoved, encode_entries
from palaver.messenger.pending_send import PendingSend, StoredKey
from palaver.messenger.sequencing import (
    ChatRow,
    Key,
    Plan,
    appended_of,
    plan_batch,
    suspect_keys,
)
from palaver.messenger.store.commit_log import WRITER
from palaver.messenger.store.journal import (
    KeyCollisionError,
    ReceiptKey,
    StoredReceipt,
    Writes,
    moved_receipt,
)
from palaver.messenger.store.lone_append import append_lone, is_lone
from palaver.messenger.store.sqlite_rows import chunks, run_rows
from palaver.runtime.sql.database import Database, DatabaseUnavailableError
from palaver.runtime.telemetry.configuration import log

# The sqlite3 module looks for an adapter of each parameter that is bytes or None, which costs 0.5 µs a time;
# of bytearrays, texts and numbers it knows that there is none.
as_blob = bytearray
# Places in a new message
TEXT = Message._fields.index("text")
CREATED = Message._fields.index("created_at")
SHORT_SENDS = 2
SHORT_RECEIPTS = 10
INSERT_MESSAGES = f"INSERT INTO messages ({', '.join(Message._fields[:NEW_FIELDS])}) VALUES {{}}"  # noqa: S608 - names of ours


class SqliteJournal:
    """The journal on SQLite (see `journal.Journal`).

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
            try:
                await write(write_batch, writes, self._clock, look_first=False)
            except KeyCollisionError:
                await self._database.write(write_batch, writes, self._clock, look_first=True)
        except (sqlite3.OperationalError, DatabaseUnavailableError):
            # The disk is full, or somebody else holds the file: a send would not be written by itself either
            raise
        except Exception as error:
            if not writes.sends:
                raise
            log.warning("batch_isolated", sends=len(writes.sends), cause=type(error).__name__)
            await self._database.write(write_isolated, writes, self._clock)


def is_short(writes: Writes) -> bool:
    """Whether a batch has so few messages that the event loop may wait for it. Larger ones come when there
    is much to do, and then the event loop has better things to do than to wait for the disk."""
    return len(writes.sends) <= SHORT_SENDS and not writes.activity and len(writes.receipts) < SHORT_RECEIPTS


def write_batch(
    connection: Connection, writes: Writes, clock: Callable[[], int], *, look_first: bool
) -> None:
    """One transaction's statements. Raises `KeyCollisionError` where an unsuspected client id is known."""
    raw: sqlite3.Connection = connection.connection.driver_connection  # type: ignore[assignment] # it is SQLite's
    if writes.sends:
        writes.appended = write_sends(raw, writes.sends, clock(), look_first=look_first)
    write_rest(raw, writes)


def write_isolated(connection: Connection, writes: Writes, clock: Callable[[], int]) -> None:
    """The same transaction with each send by itself: one that fails is undone, and gets its error."""
    raw: sqlite3.Connection = connection.connection.driver_connection  # type: ignore[assignment] # it is SQLite's
    appended: list[Event] = []
    for send in writes.sends:
        raw.execute("SAVEPOINT send")
        try:
            appended += write_sends(raw, [send], clock(), look_first=True)
        except sqlite3.OperationalError:
            # The disk has become full: it may have undone the whole transaction
            raise
        except Exception as error:
            raw.execute("ROLLBACK TO send")
            log.error("send_not_written", exc_info=error)
            send.error = error
        raw.execute("RELEASE send")
    writes.appended = appended
    write_rest(raw, writes)


def write_sends(
    raw: sqlite3.Connection, sends: Sequence[PendingSend], now: int, *, look_first: bool
) -> Sequence[Event]:
    """Places and writes new messages. Returns their entries of the commit log."""
    if is_lone(sends) and not look_first:
        try:
            appended = append_lone(raw, sends[0], now)
        except sqlite3.IntegrityError as error:
            raise KeyCollisionError from error
        if appended is not None:
            return [appended]
    chats = read_chats(raw, {send.membership.chat_id for send in sends})
    suspects = suspect_keys(sends, all_of_them=look_first)
    known = read_keys(raw, suspects) if suspects else {}
    plan = plan_batch(sends, chats, known, now, new_id)
    write_plan(raw, plan)
    return appended_of(plan, chats)


def write_rest(raw: sqlite3.Connection, writes: Writes) -> None:
    """Receipts, activity and presence, and the transaction's row of the commit log."""
    others: list[Event] = []
    if writes.receipts:
        writes.stored_receipts = move_receipts(raw, writes.receipts)
        others += [
            ReceiptMoved(*key, stored.received_seq, stored.read_seq)
            for key, stored in writes.stored_receipts.items()
            if stored.moved
        ]
    if writes.activity:
        write_activity(raw, writes.activity)
    if writes.presence:
        others += write_presence(raw, writes.presence)
    writes.others = others
    entries = [*writes.appended, *others]
    writes.position = write_commit(raw, entries) if entries else None


def write_commit(raw: sqlite3.Connection, entries: Sequence[Event]) -> Position:
    """Adds a row to the commit log. The transaction has the write lock, so that numbers are in commit
    order."""
    cursor = raw.execute(
        "INSERT INTO commit_log (writer, number, entries) "
        "SELECT ?1, coalesce(max(number), 0) + 1, ?2 FROM commit_log WHERE writer = ?1 RETURNING number",
        (WRITER, as_blob(encode_entries(entries))),
    )
    (number,) = cursor.fetchone()
    cursor.close()
    return Position(WRITER, number)


def write_plan(raw: sqlite3.Connection, plan: Plan) -> None:
    """Writes new messages, their keys, and what moves with them."""
    if not plan.messages:
        return
    rows = [
        (
            as_blob(one.chat_id),
            one.seq,
            as_blob(one.id),
            as_blob(one.sender_id),
            as_blob(one.client_id),
            *one[TEXT:NEW_FIELDS],
        )
        for one in plan.messages
    ]
    keys = [(row[4], row[0], row[3], row[1], row[2], row[CREATED]) for row in rows]
    try:
        run_rows(
            raw,
            "INSERT INTO message_keys (client_id, chat_id, sender_id, seq, id, created_at) VALUES {}",
            keys,
        )
    except sqlite3.IntegrityError as error:
        raise KeyCollisionError from error
    run_rows(raw, INSERT_MESSAGES, rows)
    run_rows(
        raw,
        "UPDATE chats SET last_seq = v.column2, active_at = v.column3 FROM (VALUES {}) AS v "
        "WHERE chats.id = v.column1",
        [(chat_id, *moved) for chat_id, moved in plan.chats.items()],
    )
    write_receipts(raw, [(*key, seq, seq) for key, seq in plan.receipts.items()])
    write_activity(raw, plan.activity)


def move_receipts(
    raw: sqlite3.Connection, wanted: Mapping[ReceiptKey, tuple[int, int]]
) -> dict[ReceiptKey, StoredReceipt]:
    """Moves members' receipts, as far as the chat reaches. Returns `Writes.stored_receipts`."""
    found: dict[ReceiptKey, StoredReceipt] = {}
    keys = list(wanted)
    for start, size in chunks(len(keys)):
        marks = ",".join(["(?,?)"] * size)
        rows = raw.execute(
            "SELECT m.chat_id, m.user_id, m.received_seq, m.read_seq, c.last_seq "  # noqa: S608 - question marks only
            "FROM members AS m JOIN chats AS c ON c.id = m.chat_id "
            f"WHERE m.left_seq IS NULL AND (m.chat_id, m.user_id) IN (VALUES {marks})",
            list(chain.from_iterable(keys[start : start + size])),
        )
        for chat_id, user_id, received_seq, read_seq, last_seq in rows.fetchall():
            key = (chat_id, user_id)
            found[key] = moved_receipt((received_seq, read_seq), wanted[key], last_seq)
    write_receipts(raw, [(*key, one.received_seq, one.read_seq) for key, one in found.items() if one.moved])
    return found


def write_presence(
    raw: sqlite3.Connection, wanted: Mapping[bytes, tuple[bool, int]]
) -> list[PresenceChanged]:
    """Stores who came and who went. Returns an entry for each user whose state is another one now."""
    online: dict[bytes, bool] = {}
    users = list(wanted)
    for start, size in chunks(len(users)):
        marks = ",".join("?" * size)
        rows = raw.execute(
            f"SELECT user_id, online FROM presence WHERE user_id IN ({marks})",  # noqa: S608 - question marks only
            users[start : start + size],
        )
        online.update((user_id, bool(flag)) for user_id, flag in rows.fetchall())
    run_rows(
        raw,
        "INSERT INTO presence (user_id, online, last_seen_at) VALUES {} ON CONFLICT (user_id) DO UPDATE "
        "SET online = excluded.online, last_seen_at = max(last_seen_at, excluded.last_seen_at)",
        [(user_id, flag, at) for user_id, (flag, at) in wanted.items()],
    )
    return [
        PresenceChanged(user_id, flag, at)
        for user_id, (flag, at) in wanted.items()
        if online.get(user_id, False) is not flag
    ]


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


def read_keys(raw: sqlite3.Connection, keys: Sequence[Key]) -> dict[Key, StoredKey]:
    """What is stored under the keys, where something is."""
    found: dict[Key, StoredKey] = {}
    for start, size in chunks(len(keys)):
        marks = ",".join(["(?,?,?)"] * size)
        rows = raw.execute(
            "SELECT chat_id, sender_id, client_id, seq, id, created_at FROM message_keys "  # noqa: S608 - question marks only
            f"WHERE (chat_id, sender_id, client_id) IN (VALUES {marks})",
            list(chain.from_iterable(keys[start : start + size])),
        )
        for chat_id, sender_id, client_id, *stored in rows.fetchall():
            found[chat_id, sender_id, client_id] = StoredKey(*stored)
    return found
