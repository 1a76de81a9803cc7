"""One new message in a small chat, on SQLite: half the statements of a batch.

While few people write, most transactions are this one, and its statements are what the sender waits for
beside the disk.
"""

import sqlite3
from collections.abc import Sequence

from palaver.contracts.ids import new_id
from palaver.messenger.events import MessagesAppended
from palaver.messenger.pending_send import PendingSend
from palaver.messenger.sequencing import EXACT_ACTIVITY_MEMBERS

# The seq is given out by the statement that locks the chat; an older version of the members finds no chat
_PLACE = (
    "UPDATE chats SET last_seq = last_seq + 1, active_at = max(active_at, ?) "
    "WHERE id = ? AND members_version = ? RETURNING last_seq, active_at"
)
_INSERT_KEY = (
    "INSERT INTO message_keys (client_id, chat_id, sender_id, seq, id, created_at) VALUES (?, ?, ?, ?, ?, ?)"
)
_INSERT_MESSAGE = (
    "INSERT INTO messages (chat_id, seq, id, sender_id, client_id, text, created_at, trace_id) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
# The sender has read; everybody's copy of the chat's activity moves
_MOVE_MEMBERS = (
    "UPDATE members SET active_at = ?1, "
    "received_seq = iif(user_id = ?2, max(received_seq, ?3), received_seq), "
    "read_seq = iif(user_id = ?2, max(read_seq, ?3), read_seq) WHERE chat_id = ?4 AND left_seq IS NULL"
)


def is_lone(sends: Sequence[PendingSend]) -> bool:
    """Whether a batch is one message that is not known to be a repeated one, in a chat whose members' copies
    of its activity are exact."""
    if len(sends) != 1:
        return False
    (send,) = sends
    return len(send.texts) == 1 and not send.retry and len(send.membership.members) <= EXACT_ACTIVITY_MEMBERS


def append_lone(raw: sqlite3.Connection, send: PendingSend, now: int) -> MessagesAppended | None:
    """Writes the one message as `sequencing.plan_batch` would place it, and fills in the send's outcome.

    Returns its entry of the commit log; None where the chat is gone or its members have changed, and then
    nothing is written. Raises `sqlite3.IntegrityError` where the client id was used before.
    """
    membership = send.membership
    # See `journal_sqlite.as_blob`
    chat_id, sender_id = bytearray(membership.chat_id), bytearray(send.sender_id)
    placed = raw.execute(_PLACE, (now, chat_id, membership.version)).fetchall()
    if not placed:
        return None
    ((seq, created_at),) = placed
    message_id = new_id()
    client_id, stored_id = bytearray(send.client_ids[0]), bytearray(message_id)
    raw.execute(_INSERT_KEY, (client_id, chat_id, sender_id, seq, stored_id, created_at))
    raw.execute(
        _INSERT_MESSAGE,
        (chat_id, seq, stored_id, sender_id, client_id, send.texts[0], created_at, send.trace.trace_id),
    )
    raw.execute(_MOVE_MEMBERS, (created_at, sender_id, seq, chat_id))
    send.stale = False
    send.stored = None
    send.error = None
    send.first_seq, send.ids, send.created_at = seq, [message_id], created_at
    return MessagesAppended(membership.chat_id, seq, seq, membership.version)
