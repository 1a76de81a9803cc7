"""Auth's tables. Ids are 16 bytes, times microseconds since the epoch."""

from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

from palaver.runtime.sql.columns import INNODB, StringKey, binary, string

metadata = MetaData()

Id = binary(16)

users = Table(
    "users",
    metadata,
    Column("id", Id, primary_key=True),
    # Normalised: the one place that makes an email unique
    Column("email", StringKey(320, 1024), nullable=False),
    Column("password_hash", String(255), nullable=False),
    Column("name", string(100, 512), nullable=False),
    Column("surname", string(100, 512), nullable=False),
    Column("birthday", Date, nullable=False),
    Column("sex", String(6), nullable=False),
    Column("city", string(1000, 4096), nullable=False),
    Column("interests", string(1000, 4096), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    # Case-folded, in UTF-8. Bytes compare alike in every engine, whatever its collations, so that a prefix is
    # one range of an index
    Column("name_folded", binary(1200), nullable=False),
    Column("surname_folded", binary(1200), nullable=False),
    # The rest of a row is kept out of these: each search reads an index alone until it knows its page
    Index("users_by_email", "email", unique=True),
    Index("users_by_surname", "surname_folded", "name_folded", "id"),
    Index("users_by_name", "name_folded", "surname_folded", "id"),
    sqlite_with_rowid=False,
    **INNODB,
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("user_id", Id, ForeignKey("users.id"), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("last_used_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("agent", String(400), nullable=False),
    Column("address", String(64), nullable=False),
    # Null while it lives
    Column("ended_at", BigInteger),
    # With it the refresh token that was used last gives the one that the session's holder has: a repeat gets
    # the same answer, and no token is stored. Null before the first refresh
    Column("successor_salt", binary(32)),
    Index("sessions_by_user", "user_id", "created_at"),
    Index("sessions_by_expiry", "expires_at"),
    Index("sessions_by_end", "ended_at"),
    # Those that live, by when they end by themselves
    Index("sessions_by_end_and_expiry", "ended_at", "expires_at"),
    sqlite_with_rowid=False,
    **INNODB,
)

# Where an account was signed in from before: strangers' wrong passwords do not touch these
known_devices = Table(
    "known_devices",
    metadata,
    Column("user_id", Id, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    # SHA-256 of what it shows of itself
    Column("device", binary(32), primary_key=True),
    Column("seen_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
    **INNODB,
)

refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    # SHA-256: the token has 256 bits of its own, so that nobody can guess it from a leaked hash
    Column("hash", binary(32), primary_key=True),
    Column("session_id", Id, ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    # Null for the one that the session's holder has
    Column("used_at", BigInteger),
    Index("refresh_tokens_by_session", "session_id"),
    Index("refresh_tokens_by_use", "used_at"),
    sqlite_with_rowid=False,
    **INNODB,
)

revocations = Table(
    "revocations",
    metadata,
    # Never given out twice, also after old rows are gone: readers keep the last one that they saw
    Column("position", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("session_id", Id, nullable=False),
    Column("ended_at", BigInteger, nullable=False),
    Index("revocations_by_end", "ended_at"),
    sqlite_autoincrement=True,
    **INNODB,
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("kid", String(64), primary_key=True),
    # PKCS #8, RFC 5958
    Column("private_pem", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    # Null for the one that signs
    Column("retired_at", BigInteger),
    # Null unless it may have leaked
    Column("revoked_at", BigInteger),
    **INNODB,
)

# One row for each order that all writers keep (see `lock_rows.py`)
locks = Table("locks", metadata, Column("name", String(32), primary_key=True), **INNODB)
