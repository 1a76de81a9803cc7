"""Where a service's database is."""

from pathlib import Path

import pytest

from palaver.runtime.sql.url import database_file
from palaver.runtime.startup import StartError


@pytest.mark.parametrize("url", ["mysql://me:secret@host/x", "sqlite:///", "secret.db"])
def test_an_address_names_a_file(tmp_path: Path, url: str) -> None:
    """The command would read another database than the service, or tell a password."""
    assert database_file("", tmp_path / "x.db", "auth.database_url") == tmp_path / "x.db"
    assert database_file("sqlite:////var/x.db", tmp_path, "auth.database_url") == Path("/var/x.db")
    with pytest.raises(StartError, match=r"setting auth\.database_url: only sqlite:///PATH") as caught:
        database_file(url, tmp_path, "auth.database_url")
    assert "secret" not in str(caught.value)
