"""Users, their sessions, ended sessions, and signing keys."""

import sqlalchemy as sa

from palaver.runtime.sql.columns import StringKey, binary, string
from palaver.runtime.sql.schema_changes import create_index, create_table

revision = "0001"
down_revision = None

Id = binary(16)


def upgrade() -> None:
    """Makes the first tables."""
    make_users()
    make_sessions()
    make_refresh_tokens()
    make_revocations()
    create_table(
        "signing_keys",
        sa.Column("kid", sa.String(64), primary_key=True),
        sa.Column("private_pem", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("retired_at", sa.BigInteger),
    )


def make_users() -> None:
    """Accounts, found by id, by email and by prefixes of names."""
    create_table(
        "users",
        sa.Column("id", Id, primary_key=True),
        sa.Column("email", StringKey(320, 1024), nullable=False),
        sa.Column("password_hash", sa.String(255), nullable=False),
        sa.Column("name", string(100, 512), nullable=False),
        sa.Column("surname", string(100, 512), nullable=False),
        sa.Column("birthday", sa.Date, nullable=False),
        sa.Column("sex", sa.String(6), nullable=False),
        sa.Column("city", string(1000, 4096), nullable=False),
        sa.Column("interests", string(1000, 4096), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("name_folded", binary(1200), nullable=False),
        sa.Column("surname_folded", binary(1200), nullable=False),
        sqlite_with_rowid=False,
    )
    create_index("users_by_email", "users", ["email"], unique=True)
    create_index("users_by_surname", "users", ["surname_folded", "name_folded", "id"])
    create_index("users_by_name", "users", ["name_folded", "surname_folded", "id"])


def make_sessions() -> None:
    """Signed-in devices."""
    create_table(
        "sessions",
        sa.Column("id", Id, primary_key=True),
        sa.Column("user_id", Id, sa.ForeignKey("users.id"), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("last_used_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("agent", sa.String(400), nullable=False),
        sa.Column("address", sa.String(64), nullable=False),
        sa.Column("ended_at", sa.BigInteger),
        sqlite_with_rowid=False,
    )
    create_index("sessions_by_user", "sessions", ["user_id", "created_at"])
    create_index("sessions_by_expiry", "sessions", ["expires_at"])
    create_index("sessions_by_end", "sessions", ["ended_at"])


def make_refresh_tokens() -> None:
    """The families of refresh tokens."""
    create_table(
        "refresh_tokens",
        sa.Column("hash", binary(32), primary_key=True),
        sa.Column("session_id", Id, sa.ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("used_at", sa.BigInteger),
        sqlite_with_rowid=False,
    )
    create_index("refresh_tokens_by_session", "refresh_tokens", ["session_id"])
    create_index("refresh_tokens_by_use", "refresh_tokens", ["used_at"])


def make_revocations() -> None:
    """The order in which sessions ended."""
    create_table(
        "revocations",
        sa.Column(
            "position",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            primary_key=True,
            autoincrement=True,
        ),
        sa.Column("session_id", Id, nullable=False),
        sa.Column("ended_at", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    create_index("revocations_by_end", "revocations", ["ended_at"])
