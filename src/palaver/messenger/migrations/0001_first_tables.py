"""Chats, members, messages, their keys, and presence."""

import sqlalchemy as sa

from palaver.runtime.sql.columns import LongText, binary, string
from palaver.runtime.sql.schema_changes import create_index, create_table

revision = "0001"
down_revision = None

Id = binary(16)


def upgrade() -> None:
    """Makes the first tables."""
    make_chats()
    make_members()
    make_messages()
    create_table(
        "presence",
        sa.Column("user_id", Id, primary_key=True),
        sa.Column("last_seen_at", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )


def make_chats() -> None:
    """Chats, found by id and by pair."""
    create_table(
        "chats",
        sa.Column("id", Id, primary_key=True),
        sa.Column("kind", sa.SmallInteger, nullable=False),
        sa.Column("title", string(200, 1024), nullable=False),
        sa.Column("pair", binary(32), unique=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("created_by", Id, nullable=False),
        sa.Column("last_seq", sa.BigInteger, nullable=False),
        sa.Column("active_at", sa.BigInteger, nullable=False),
        sa.Column("members_version", sa.Integer, nullable=False),
        sqlite_with_rowid=False,
    )


def make_members() -> None:
    """Members, found by chat, and by user in the order of their chats' activity."""
    create_table(
        "members",
        sa.Column("chat_id", Id, sa.ForeignKey("chats.id"), primary_key=True),
        sa.Column("user_id", Id, primary_key=True),
        sa.Column("joined_at", sa.BigInteger, nullable=False),
        sa.Column("left_seq", sa.BigInteger),
        sa.Column("received_seq", sa.BigInteger, nullable=False),
        sa.Column("read_seq", sa.BigInteger, nullable=False),
        sa.Column("active_at", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    create_index("members_by_activity", "members", ["user_id", "active_at", "chat_id"])


def make_messages() -> None:
    """Messages by their place, and the keys that make a client id unique for ever."""
    create_table(
        "messages",
        sa.Column("chat_id", Id, primary_key=True),
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("id", Id, nullable=False),
        sa.Column("sender_id", Id, nullable=False),
        sa.Column("client_id", Id, nullable=False),
        sa.Column("text", LongText, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("edited_at", sa.BigInteger),
        sa.Column("deleted_at", sa.BigInteger),
        sa.Column("trace_id", sa.String(32), nullable=False),
        sqlite_with_rowid=False,
    )
    for name, column in (("messages_by_edit", "edited_at"), ("messages_by_deletion", "deleted_at")):
        create_index(name, "messages", [column], sqlite_where=sa.text(f"{column} IS NOT NULL"))
    create_table(
        "message_keys",
        sa.Column("client_id", Id, primary_key=True),
        sa.Column("chat_id", Id, primary_key=True),
        sa.Column("sender_id", Id, primary_key=True),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
