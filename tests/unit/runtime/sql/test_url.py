"""Where a service's database is."""

from pathlib import Path

import pytest

from palaver.runtime.sql.url import MysqlAddress, database_at, database_file
from palaver.runtime.startup import StartError


@pytest.mark.parametrize("url", ["mysql://me:secret@host/x", "sqlite:///", "secret.db"])
def test_an_address_names_a_file(tmp_path: Path, url: str) -> None:
    """The command would read another database than the service, or tell a password."""
    assert database_file("", tmp_path / "x.db", "auth.database_url") == tmp_path / "x.db"
    assert database_file("sqlite:////var/x.db", tmp_path, "auth.database_url") == Path("/var/x.db")
    with pytest.raises(StartError, match=r"setting auth\.database_url: only sqlite:///PATH") as caught:
        database_file(url, tmp_path, "auth.database_url")
    assert "secret" not in str(caught.value)


def test_an_address_names_a_schema(tmp_path: Path) -> None:
    """Passwords with a slash or a colon would lead to another server, and a port would be forgotten."""
    found = database_at("mysql://me:p%40s%3As%2F@db.example:3307/palaver", tmp_path, "auth.database_url")
    assert found == MysqlAddress("db.example", 3307, "me", "palaver", "p@s:s/")
    assert database_at("mysql://me@db/x", tmp_path, "x") == MysqlAddress("db", 3306, "me", "x")
    assert "p@s" not in f"{found} {found!r}"
    assert str(found) == "mysql://me@db.example:3307/palaver"


@pytest.mark.parametrize(
    "url",
    [
        "mysql://me:secret@/x",
        "mysql://me:secret@host",
        "mysql://:secret@host/x",
        "mysql://me:secret@host:port/x",
        "mysql://me:secret@host:0/x",
        "mysql://me:secret@host/x?charset=latin1",
        "mysql://me:secret\u00e9@host/x",
        "mysql+pymysql://me:secret@host/x",
    ],
)
def test_a_wrong_address_is_named_without_its_password(tmp_path: Path, url: str) -> None:
    """A service would start on another database, or tell the log its password."""
    with pytest.raises(StartError, match=r"^setting auth\.database_url: [^\n]+$") as caught:
        database_at(url, tmp_path, "auth.database_url")
    assert "secret" not in str(caught.value)
