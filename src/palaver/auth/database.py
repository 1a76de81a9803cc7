"""Auth's database: where it is, and how it is recognised."""

from pathlib import Path

from palaver.auth.migrations import MIGRATIONS
from palaver.runtime.settings import Settings
from palaver.runtime.sql.database_file import DatabaseKind
from palaver.runtime.sql.url import MysqlAddress, database_at

KIND = DatabaseKind(
    "auth",
    int.from_bytes(b"PAua", "big"),
    frozenset({"alembic_version", "users", "sessions", "refresh_tokens", "signing_keys"}),
    MIGRATIONS,
)


def location_of(settings: Settings) -> Path | MysqlAddress:
    """Where accounts are. Raises `StartError`."""
    return database_at(settings.auth.database_url, settings.data_dir / "auth.db", "auth.database_url")
