"""Who users are, for operators. Reads SQLite's file itself: it needs no running auth."""

from collections.abc import Sequence

from palaver.runtime.settings import Settings
from palaver.runtime.sql.read_only import reading
from palaver.runtime.sql.url import database_file

# Less than SQLite allows of parameters
IDS_AT_ONCE = 500


def inspect_names(settings: Settings, user_ids: Sequence[bytes]) -> dict[bytes, str]:
    """Name and surname of each user that there is. Raises `StartError` where accounts cannot be read."""
    file = database_file(settings.auth.database_url, settings.data_dir / "auth.db", "auth.database_url")
    names: dict[bytes, str] = {}
    with reading(file) as connection:
        for start in range(0, len(user_ids), IDS_AT_ONCE):
            some = user_ids[start : start + IDS_AT_ONCE]
            marks = ",".join("?" * len(some))
            query = f"SELECT id, name, surname FROM users WHERE id IN ({marks})"  # noqa: S608 - question marks
            names.update(
                (user, f"{name} {surname}") for user, name, surname in connection.execute(query, some)
            )
    return names
