"""Who users are, for operators."""

from datetime import date
from pathlib import Path

import pytest

from palaver.auth import inspection
from palaver.auth.domain import User
from palaver.auth.inspection import inspect_names
from palaver.auth.user_rows import add_user
from palaver.contracts.ids import new_id
from palaver.runtime.settings import Settings
from palaver.runtime.sql.sqlite import SqliteDatabase
from palaver.runtime.startup import StartError


async def test_names_are_read(
    database: SqliteDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message's way would be told in ids that nobody knows."""
    monkeypatch.setattr(inspection, "IDS_AT_ONCE", 2)
    ids = [new_id() for _ in range(5)]
    for number, id_ in enumerate(ids[:4]):
        user = User(id_, f"{number}@b.test", "Zoë", f"Ünal {number}", date(1990, 1, 1), "other", "x", "y", 7)
        await database.write(add_user, user, "a hash")
    names = inspect_names(Settings(data_dir=tmp_path), ids)
    assert names == {id_: f"Zoë Ünal {number}" for number, id_ in enumerate(ids[:4])}


def test_accounts_that_are_not_there_are_told(tmp_path: Path) -> None:
    """The command could not do without names."""
    with pytest.raises(StartError, match="there is no database"):
        inspect_names(Settings(data_dir=tmp_path), [new_id()])
