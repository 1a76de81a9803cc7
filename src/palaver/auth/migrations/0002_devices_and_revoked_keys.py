"""Known devices, revoked keys, repeated refreshes, and sessions that end by time.

All of it is new: a program that knows the first schema alone goes on working.
"""

import sqlalchemy as sa

from palaver.runtime.sql.columns import binary
from palaver.runtime.sql.schema_changes import add_column, create_index, create_table

revision = "0002"
down_revision = "0001"

Id = binary(16)


def upgrade() -> None:
    """Adds a table, two columns and an index."""
    create_table(
        "known_devices",
        sa.Column("user_id", Id, sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("device", binary(32), primary_key=True),
        sa.Column("seen_at", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    add_column("sessions", sa.Column("successor_salt", binary(32)))
    create_index("sessions_by_end_and_expiry", "sessions", ["ended_at", "expires_at"])
    add_column("signing_keys", sa.Column("revoked_at", sa.BigInteger))
