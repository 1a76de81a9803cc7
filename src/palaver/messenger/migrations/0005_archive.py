"""What the archive needs: segments, shards, the archiver's lease and positions, changes not archived yet.

All of it is new: a program that knows the fourth schema alone goes on working.
"""

import sqlalchemy as sa

from palaver.runtime.sql.columns import StringKey, binary, string
from palaver.runtime.sql.schema_changes import add_column, create_index, create_table

revision = "0005"
down_revision = "0004"

Id = binary(16)


def upgrade() -> None:
    """Makes the tables, and counts changes of messages from now on."""
    add_column("messages", sa.Column("changes", sa.Integer, nullable=False, server_default="0"))
    create_table(
        "segments",
        sa.Column("chat_id", Id, primary_key=True),
        sa.Column("first_seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("last_seq", sa.BigInteger, nullable=False),
        sa.Column("shard_id", sa.Integer, nullable=False),
        sa.Column("changes", sa.Integer, nullable=False),
        sa.Column("trim_at", sa.BigInteger),
        sqlite_with_rowid=False,
    )
    create_index("segments_by_trim", "segments", ["trim_at"])
    create_table(
        "shards",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("host", string(255, 255), nullable=False),
        sa.Column("port", sa.Integer, nullable=False),
        sa.Column("weight", sa.Integer, nullable=False),
        sa.Column("state", string(16, 16), nullable=False),
    )
    create_table(
        "leases",
        sa.Column("name", StringKey(32, 32), primary_key=True),
        sa.Column("holder", Id, nullable=False),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    create_table(
        "archive_positions",
        sa.Column("writer", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, nullable=False),
    )
