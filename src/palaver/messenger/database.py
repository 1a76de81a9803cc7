"""The messenger's database: where it is, and how it is recognised."""

from pathlib import Path

from palaver.messenger.migrations import MIGRATIONS
from palaver.runtime.settings import Settings
from palaver.runtime.sql.database_file import DatabaseKind
from palaver.runtime.sql.url import database_file

KIND = DatabaseKind(
    "messenger",
    int.from_bytes(b"PAms", "big"),
    frozenset({"alembic_version", "chats", "members", "messages", "message_keys"}),
    MIGRATIONS,
)


def file_of(settings: Settings) -> Path:
    """Where the journal is. Raises `StartError`."""
    return database_file(
        settings.messenger.database_url, settings.data_dir / "messenger.db", "messenger.database_url"
    )
