"""Known devices, revoked keys, repeated refreshes, and sessions that end by time.

All of it is new: a program that knows the first schema alone goes on working.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

Id = sa.LargeBinary(16)


def upgrade() -> None:
    """Adds a table, two columns and an index."""
    op.create_table(
        "known_devices",
        sa.Column("user_id", Id, sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("device", sa.LargeBinary(32), primary_key=True),
        sa.Column("seen_at", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.add_column("sessions", sa.Column("successor_salt", sa.LargeBinary(32)))
    op.create_index("sessions_by_end_and_expiry", "sessions", ["ended_at", "expires_at"])
    op.add_column("signing_keys", sa.Column("revoked_at", sa.BigInteger))
