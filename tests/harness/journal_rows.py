"""Writes chats and messages as the messenger's parts would."""

from collections.abc import Sequence

from sqlalchemy import Connection, func, insert, select, text, update

from palaver.contracts.ids import new_id
from palaver.messenger.store.schema import chats, members, messages


def write_messages(
    connection: Connection, chat_id: bytes, sender_id: bytes, texts: Sequence[str], now: int = 100
) -> None:
    """Appends messages as the journal does: seqs, the chat's end, activity, and the sender's receipts."""
    last_seq = connection.execute(select(chats.c.last_seq).where(chats.c.id == chat_id)).scalar_one()
    rows = [
        {
            "chat_id": chat_id,
            "seq": last_seq + number,
            "id": new_id(),
            "sender_id": sender_id,
            "client_id": new_id(),
            "text": text,
            "created_at": now,
        }
        for number, text in enumerate(texts, start=1)
    ]
    connection.execute(insert(messages), rows)
    end = last_seq + len(texts)
    connection.execute(update(chats).where(chats.c.id == chat_id).values(last_seq=end, active_at=now))
    present = update(members).where(members.c.chat_id == chat_id, members.c.left_seq.is_(None))
    connection.execute(present.values(active_at=now))
    connection.execute(present.where(members.c.user_id == sender_id).values(received_seq=end, read_seq=end))


def move_receipt(
    connection: Connection, chat_id: bytes, user_id: bytes, received_seq: int, read_seq: int
) -> None:
    """Sets a member's receipt."""
    connection.execute(
        update(members)
        .where(members.c.chat_id == chat_id, members.c.user_id == user_id)
        .values(received_seq=received_seq, read_seq=read_seq)
    )


def count_rows(connection: Connection, table: str) -> int:
    """How many rows a table has."""
    return connection.execute(select(func.count()).select_from(chats.metadata.tables[table])).scalar_one()


def rows_read(connection: Connection) -> int:
    """How many rows MySQL has read on this connection: unlike time, the same in each run."""
    rows = connection.execute(text("SHOW SESSION STATUS LIKE 'Handler_read%'")).all()
    # Others count what SHOW itself reads
    return sum(int(value) for name, value in rows if "_rnd" not in name)
