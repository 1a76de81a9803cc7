"""The journal on MySQL."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from asyncmy.errors import IntegrityError, OperationalError
from sqlalchemy import Connection

from palaver.contracts.ids import new_id
from palaver.contracts.times import now_us
from palaver.messenger.domain import NEW_FIELDS, Message
from palaver.messenger.events import Event, PresenceChanged, ReceiptMoved
from palaver.messenger.pending_send import PendingSend, StoredKey
from palaver.messenger.sequencing import (
    ChatRow,
    Key,
    Plan,
    appended_of,
    plan_batch,
    suspect_keys,
)
from palaver.messenger.store.journal import (
    KeyCollisionError,
    ReceiptKey,
    StoredReceipt,
    Writes,
    moved_receipt,
)
from palaver.messenger.store.mysql_rows import Cursor, insert_rows, run_rows, select_rows
from palaver.messenger.store.writer_mysql import MysqlWriter
from palaver.runtime.sql.database import DatabaseUnavailableError
from palaver.runtime.sql.mysql_errors import (
    LOCK_TIMEOUT,
    is_broken,
    is_lost,
    is_repeatable,
    mysql_name,
    mysql_number,
)
from palaver.runtime.telemetry.configuration import log

MESSAGE_COLUMNS = ", ".join(Message._fields[:NEW_FIELDS])
KEY_COLUMNS = "client_id, chat_id, sender_id, seq, id, created_at"
# In the order of their ids, which all transactions keep to: none waits for one that waits for it. Forced,
# because a small table would be read whole, and with it chats that others hold
LOCK_CHATS = (
    "SELECT id, last_seq, active_at, members_version FROM chats FORCE INDEX (PRIMARY) WHERE id IN ({}) "
    "ORDER BY id FOR UPDATE"
)

# As `MysqlWriter.write` takes it
Work = Callable[..., tuple[None, list[Event]]]


@dataclass(slots=True)
class Locking:
    """How the chats of batches are locked. `busy`: those that somebody held for long are not waited for;
    `only_free`: nor is any other, because it is not known which one was waited for in vain."""

    busy: set[bytes] = field(default_factory=set)
    only_free: bool = False


class MysqlJournal:
    """The journal on MySQL (see `journal.Journal`): the batches of one writer."""

    def __init__(self, writer: MysqlWriter, clock: Callable[[], int] = now_us) -> None:
        self._writer = writer
        self._clock = clock
        self._locking = Locking()

    async def write(self, writes: Writes) -> None:
        """See `Journal.write`."""
        try:
            try:
                await self._write(write_batch, writes, look_first=False)
            except KeyCollisionError:
                await self._write(write_batch, writes, look_first=True)
        except DatabaseUnavailableError:
            # The server takes nothing now: a send would not be written by itself either
            raise
        except Exception as error:
            if not writes.sends:
                raise
            log.warning("batch_isolated", sends=len(writes.sends), cause=type(error).__name__)
            await self._write(write_isolated, writes, look_first=True)

    async def _write(self, work: Work, writes: Writes, *, look_first: bool) -> None:
        self._locking.only_free = False
        _, _, writes.position = await self._writer.write(work, writes, self._clock, self._locking, look_first)


def write_batch(
    connection: Connection, writes: Writes, clock: Callable[[], int], locking: Locking, look_first: bool
) -> tuple[None, list[Event]]:
    """One transaction's statements. Raises `KeyCollisionError` where an unsuspected client id is known."""
    cursor = connection.connection.cursor()
    chats = lock_all(cursor, writes, locking)
    sends = [send for send in writes.sends if send.membership.chat_id not in writes.busy]
    writes.appended = write_sends(cursor, sends, chats, clock(), look_first=look_first) if sends else []
    return None, write_rest(cursor, writes, chats)


def write_isolated(
    connection: Connection, writes: Writes, clock: Callable[[], int], locking: Locking, look_first: bool
) -> tuple[None, list[Event]]:
    """The same transaction with each send by itself: one that fails is undone, and gets its error."""
    cursor = connection.connection.cursor()
    chats = lock_all(cursor, writes, locking)
    appended: list[Event] = []
    for send in writes.sends:
        if send.membership.chat_id in writes.busy:
            continue
        cursor.execute("SAVEPOINT send")
        try:
            appended += write_sends(cursor, [send], chats, clock(), look_first=look_first)
        except Exception as error:
            if is_lost(error) or is_repeatable(error) or is_broken(error):
                # The server may have undone the whole transaction
                raise
            cursor.execute("ROLLBACK TO SAVEPOINT send")
            # The server's own errors say enough; whatever else it is needs its traceback
            known = mysql_number(error) is not None
            log.error("send_not_written", cause=mysql_name(error), exc_info=None if known else error)
            send.error = error
        cursor.execute("RELEASE SAVEPOINT send")
    writes.appended = appended
    return None, write_rest(cursor, writes, chats)


# ---- locks ----


def lock_all(cursor: Cursor, writes: Writes, locking: Locking) -> dict[bytes, ChatRow]:
    """The chats of all of `writes`, locked before anything else. Those that others hold for long are noted as
    busy, and their sends get the error."""
    wanted = {send.membership.chat_id for send in writes.sends}
    wanted.update([chat_id for chat_id, _ in writes.receipts], writes.activity)
    known_busy = wanted if locking.only_free else locking.busy & wanted
    try:
        chats = lock_chats(cursor, known_busy, " SKIP LOCKED")
        chats.update(lock_chats(cursor, wanted - known_busy))
    except OperationalError as error:
        # The next attempt finds out for whom it waited
        locking.only_free = mysql_number(error) == LOCK_TIMEOUT
        raise
    locking.busy.difference_update(chats)
    missing = known_busy - chats.keys()
    busy = read_existing(cursor, missing) if missing else set()
    locking.busy.difference_update(missing - busy)
    locking.busy.update(busy)
    writes.busy = frozenset(busy)
    for send in writes.sends if busy else ():
        if send.membership.chat_id in busy:
            send.ids, send.stored, send.stale = [], None, False
            send.error = DatabaseUnavailableError("chat locked")
    return chats


def lock_chats(cursor: Cursor, chat_ids: Collection[bytes], how: str = "") -> dict[bytes, ChatRow]:
    """Locks chats in the order of their ids."""
    rows = select_rows(cursor, LOCK_CHATS + how, [(chat_id,) for chat_id in sorted(chat_ids)])
    return {chat_id: ChatRow(*row) for chat_id, *row in rows}


def read_existing(cursor: Cursor, chat_ids: Iterable[bytes]) -> set[bytes]:
    """Those of the chats that there are."""
    keys = [(chat_id,) for chat_id in chat_ids]
    return {row[0] for row in select_rows(cursor, "SELECT id FROM chats WHERE id IN ({})", keys)}


# ---- messages ----


def write_sends(
    cursor: Cursor, sends: Sequence[PendingSend], chats: dict[bytes, ChatRow], now: int, *, look_first: bool
) -> list[Event]:
    """Places and writes new messages. Returns their entries of the commit log."""
    suspects = suspect_keys(sends, all_of_them=look_first)
    known = read_keys(cursor, suspects) if suspects else {}
    plan = plan_batch(sends, chats, known, now, new_id)
    write_plan(cursor, plan)
    appended: list[Event] = [*appended_of(plan, chats)]
    for chat_id, (last_seq, active_at) in plan.chats.items():
        chats[chat_id] = chats[chat_id]._replace(last_seq=last_seq, active_at=active_at)
    return appended


def write_plan(cursor: Cursor, plan: Plan) -> None:
    """Writes new messages, their keys, and what moves with them."""
    if not plan.messages:
        return
    keys = [
        (one.client_id, one.chat_id, one.sender_id, one.seq, one.id, one.created_at) for one in plan.messages
    ]
    try:
        insert_rows(cursor, "message_keys", KEY_COLUMNS, keys)
    except IntegrityError as error:
        raise KeyCollisionError from error
    insert_rows(cursor, "messages", MESSAGE_COLUMNS, [one[:NEW_FIELDS] for one in plan.messages])
    run_rows(
        cursor,
        "UPDATE {} AS v STRAIGHT_JOIN chats ON chats.id = v.id "
        "SET chats.last_seq = v.last_seq, chats.active_at = v.active_at",
        ("id", "last_seq", "active_at"),
        [(chat_id, *moved) for chat_id, moved in plan.chats.items()],
    )
    write_receipts(cursor, [(*key, seq, seq) for key, seq in plan.receipts.items()])
    write_activity(cursor, plan.activity)


def read_keys(cursor: Cursor, keys: Sequence[Key]) -> dict[Key, StoredKey]:
    """What is stored under the keys, where something is."""
    rows = select_rows(
        cursor,
        "SELECT chat_id, sender_id, client_id, seq, id, created_at FROM message_keys "
        "WHERE (client_id, chat_id, sender_id) IN ({})",
        [(client_id, chat_id, sender_id) for chat_id, sender_id, client_id in keys],
    )
    return {(row[0], row[1], row[2]): StoredKey(*row[3:]) for row in rows}


# ---- receipts, activity, presence ----


def write_rest(cursor: Cursor, writes: Writes, chats: Mapping[bytes, ChatRow]) -> list[Event]:
    """Writes receipts, activity and presence. Returns all entries of the commit log."""
    others: list[Event] = []
    receipts = {key: seqs for key, seqs in writes.receipts.items() if key[0] not in writes.busy}
    writes.stored_receipts = move_receipts(cursor, receipts, chats) if receipts else {}
    others += [
        ReceiptMoved(*key, stored.received_seq, stored.read_seq)
        for key, stored in writes.stored_receipts.items()
        if stored.moved
    ]
    activity = {chat_id: at for chat_id, at in writes.activity.items() if chat_id not in writes.busy}
    if activity:
        write_activity(cursor, activity)
    if writes.presence:
        others += write_presence(cursor, writes.presence)
    writes.others = others
    return [*writes.appended, *others]


def move_receipts(
    cursor: Cursor, wanted: Mapping[ReceiptKey, tuple[int, int]], chats: Mapping[bytes, ChatRow]
) -> dict[ReceiptKey, StoredReceipt]:
    """Moves members' receipts, as far as the chat reaches. Returns `Writes.stored_receipts`."""
    rows = select_rows(
        cursor,
        "SELECT chat_id, user_id, received_seq, read_seq FROM members "
        "WHERE (chat_id, user_id) IN ({}) AND left_seq IS NULL",
        list(wanted),
    )
    stored = {(row[0], row[1]): (row[2], row[3]) for row in rows}
    found = {
        key: moved_receipt(stored[key], seqs, chats[key[0]].last_seq)
        for key, seqs in wanted.items()
        if key in stored and key[0] in chats
    }
    write_receipts(
        cursor, [(*key, one.received_seq, one.read_seq) for key, one in found.items() if one.moved]
    )
    return found


def write_receipts(cursor: Cursor, rows: Sequence[tuple[bytes, bytes, int, int]]) -> None:
    """Moves receipts (chat id, user id, received seq, read seq) forward, never back."""
    run_rows(
        cursor,
        "UPDATE {} AS v STRAIGHT_JOIN members AS m ON m.chat_id = v.chat_id AND m.user_id = v.user_id "
        "SET m.received_seq = GREATEST(m.received_seq, v.received_seq, v.read_seq), "
        "m.read_seq = GREATEST(m.read_seq, v.read_seq)",
        ("chat_id", "user_id", "received_seq", "read_seq"),
        rows,
    )


def write_activity(cursor: Cursor, activity: Mapping[bytes, int]) -> None:
    """Moves the members' copies of chats' activity."""
    run_rows(
        cursor,
        "UPDATE {} AS v STRAIGHT_JOIN members AS m ON m.chat_id = v.chat_id SET m.active_at = v.active_at "
        "WHERE m.left_seq IS NULL",
        ("chat_id", "active_at"),
        list(activity.items()),
    )


def write_presence(cursor: Cursor, wanted: Mapping[bytes, tuple[bool, int]]) -> list[PresenceChanged]:
    """Stores who came and who went. Returns an entry for each user whose state is another one now."""
    users = sorted(wanted)
    # In the order of their ids, as the chats: the rows that are new are locked by being inserted
    run_rows(
        cursor,
        "INSERT INTO presence (user_id, online, last_seen_at) SELECT v.user_id, v.online, 0 FROM {} AS v "
        "ON DUPLICATE KEY UPDATE last_seen_at = presence.last_seen_at",
        ("user_id", "online"),
        [(user_id, False) for user_id in users],
    )
    rows = select_rows(
        cursor,
        "SELECT user_id, online FROM presence WHERE user_id IN ({})",
        [(user_id,) for user_id in users],
    )
    online = {user_id: bool(flag) for user_id, flag in rows}
    run_rows(
        cursor,
        "UPDATE {} AS v STRAIGHT_JOIN presence AS p ON p.user_id = v.user_id "
        "SET p.online = v.online, p.last_seen_at = GREATEST(p.last_seen_at, v.last_seen_at)",
        ("user_id", "online", "last_seen_at"),
        [(user_id, *wanted[user_id]) for user_id in users],
    )
    return [
        PresenceChanged(user_id, flag, at)
        for user_id, (flag, at) in wanted.items()
        if online.get(user_id, False) is not flag
    ]
