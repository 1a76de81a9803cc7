"""What the archive needs: segments, shards, the archiver's lease and positions, changes not archived yet."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

Id = sa.LargeBinary(16)


def upgrade() -> None:
    """Makes the tables, and counts changes of messages from now on."""
    op.add_column("messages", sa.Column("changes", sa.Integer, nullable=False, server_default="0"))
    op.create_table(
        "segments",
        sa.Column("chat_id", Id, primary_key=True),
        sa.Column("first_seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("last_seq", sa.BigInteger, nullable=False),
        sa.Column("shard_id", sa.Integer, nullable=False),
        sa.Column("changes", sa.Integer, nullable=False),
        sa.Column("trim_at", sa.BigInteger),
        sqlite_with_rowid=False,
    )
    op.create_index("segments_by_trim", "segments", ["trim_at"])
    op.create_table(
        "shards",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("port", sa.Integer, nullable=False),
        sa.Column("weight", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("holder", Id, nullable=False),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "archive_positions",
        sa.Column("writer", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, nullable=False),
    )
