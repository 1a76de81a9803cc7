"""The archive's settings."""

import pytest
from pydantic import ValidationError

from palaver.runtime.settings.archive import ArchiveSettings, parse_archive_url


def test_a_url_names_the_cluster_node() -> None:
    """Passwords with signs of URLs would not be understood."""
    found = parse_archive_url("clickhouse://palaver:p%40ss%2Fword@ch-0.internal:9000/palaver")
    assert found == ("ch-0.internal", 9000, "palaver", "p@ss/word", "palaver")


@pytest.mark.parametrize(
    "url",
    [
        "http://user:secret@host:9000/db",
        "clickhouse://host:9000/db",
        "clickhouse://user:secret@host/db",
        "clickhouse://user:secret@host:9000",
        "clickhouse://user:secret@host:9000/a-b",
        "clickhouse://user:secret@host:9000/db;DROP",
        "clickhouse://user:secret@host:x/db",
        "clickhouse://user:secret@host:9000/db?secure=1",
    ],
)
def test_a_wrong_url_is_refused_without_its_password(url: str) -> None:
    """A start would fail with the password in its one line, or statements with a name that is none."""
    with pytest.raises(ValidationError) as caught:
        ArchiveSettings(url=url)
    (error,) = caught.value.errors(include_input=False)
    assert "secret" not in error["msg"]
    assert "clickhouse://USER:PASSWORD@HOST:PORT/DATABASE" in error["msg"]


def test_a_cluster_is_a_name() -> None:
    """Its text becomes part of statements."""
    with pytest.raises(ValidationError):
        ArchiveSettings(cluster="a' OR 1")
