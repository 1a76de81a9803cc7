"""The messenger's database: where it is, and how it is recognised."""

from pathlib import Path

from palaver.messenger.migrations import MIGRATIONS
from palaver.runtime.settings import Settings
from palaver.runtime.sql.database_file import DatabaseKind
from palaver.runtime.sql.url import MysqlAddress, database_at

KIND = DatabaseKind(
    "messenger",
    int.from_bytes(b"PAms", "big"),
    frozenset({"alembic_version", "chats", "members", "messages", "message_keys"}),
    MIGRATIONS,
)


def location_of(settings: Settings) -> Path | MysqlAddress:
    """Where the journal is. Raises `StartError`."""
    return database_at(
        settings.messenger.database_url, settings.data_dir / "messenger.db", "messenger.database_url"
    )
