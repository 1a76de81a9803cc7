"""The commit log; keys that answer repeated sends alone; whether a user is online."""

import sqlalchemy as sa
from alembic import op

from palaver.runtime.sql.columns import LongBinary, binary
from palaver.runtime.sql.schema_changes import add_column, create_index, create_table, drop_index, is_mysql

revision = "0002"
down_revision = "0001"

Id = binary(16)


def upgrade() -> None:
    """Adds the commit log, widens keys and presence, and drops the indexes of recovery by time."""
    create_table(
        "commit_log",
        sa.Column("writer", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("entries", LongBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    widen_keys()
    add_column("presence", sa.Column("online", sa.Boolean, nullable=False, server_default=sa.false()))
    make_online_index()
    drop_index("messages_by_edit", "messages")
    drop_index("messages_by_deletion", "messages")


def make_online_index() -> None:
    """Finds who is online. MySQL has no index of some rows alone."""
    if is_mysql():
        create_index("presence_online", "presence", ["online", "user_id"])
    else:
        create_index("presence_online", "presence", ["user_id"], sqlite_where=sa.text("online"))


def widen_keys() -> None:
    """Gives each key its message's id and time."""
    if is_mysql():
        # No version of before has run there: there are no rows to fill
        add_column("message_keys", sa.Column("id", Id, nullable=False))
        add_column("message_keys", sa.Column("created_at", sa.BigInteger, nullable=False))
    else:
        copy_keys()


def copy_keys() -> None:
    """Widens the keys by a copy: SQLite adds no NOT NULL column to a table that has rows."""
    op.create_table(
        "wide_keys",
        sa.Column("client_id", Id, primary_key=True),
        sa.Column("chat_id", Id, primary_key=True),
        sa.Column("sender_id", Id, primary_key=True),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("id", Id, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO wide_keys SELECT k.client_id, k.chat_id, k.sender_id, k.seq, m.id, m.created_at "
        "FROM message_keys AS k JOIN messages AS m ON m.chat_id = k.chat_id AND m.seq = k.seq"
    )
    op.drop_table("message_keys")
    op.rename_table("wide_keys", "message_keys")
