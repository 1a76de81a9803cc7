"""Columns' types on both dialects."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Column, Connection, MetaData, Table, create_engine, insert, select
from sqlalchemy.exc import DBAPIError, IntegrityError

from palaver.runtime.sql.columns import INNODB, LongBinary, LongText, StringKey, binary, string
from tests.harness.mariadb import MariadbSchema

things = Table(
    "things",
    MetaData(),
    Column("id", binary(16), primary_key=True),
    Column("key", StringKey(10, 40), unique=True),
    Column("name", string(10, 20)),
    Column("text", LongText),
    Column("content", LongBinary),
    **INNODB,
)


@pytest.fixture(params=["sqlite", "mariadb"])
def connection(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Connection]:
    """A connection to a database with the table, on each engine."""
    if request.param == "sqlite":
        engine = create_engine(f"sqlite:///{tmp_path}/things.db")
        with engine.connect() as connection:
            things.create(connection)
            yield connection
        engine.dispose()
        return
    schema: MariadbSchema = request.getfixturevalue("mariadb_schema")
    with schema.connection() as connection:
        things.create(connection)
        yield connection


def test_bytes_come_back_whole(connection: Connection) -> None:
    """An id whose last byte is 00, one in 256, would not be found again."""
    ids = [bytes(16), b"\xff" * 15 + b"\0", b" " * 16, b"a" * 15, b"a" * 15 + b" ", b"'\\\"%\0:x" + bytes(9)]
    connection.execute(insert(things), [{"id": id_} for id_ in ids])
    for id_ in ids:
        assert connection.execute(select(things.c.id).where(things.c.id == id_)).scalar_one() == id_
    assert set(connection.execute(select(things.c.id)).scalars()) == set(ids)


def test_keys_are_compared_by_their_bytes(connection: Connection) -> None:
    """Two people would share one account, because a collation takes their emails for the same."""
    keys = ["e", "é", "e\u0301", "E", "a", "a ", "ss", "ß", "ё", "\u0435", "\U0001f98a", "\U0001f98b"]
    rows = [{"id": bytes([number]), "key": key} for number, key in enumerate(keys)]
    connection.execute(insert(things), rows)
    for key in keys:
        assert connection.execute(select(things.c.key).where(things.c.key == key)).scalars().all() == [key]
    with pytest.raises(IntegrityError):
        connection.execute(insert(things), {"id": b"again", "key": "é"})


def test_texts_come_back_whole(connection: Connection) -> None:
    """Messages would be cut at 64 KiB, or lose what is not of the server's own alphabet."""
    text = "Ж\U0001f98a é '\\%s:x\r\n" * 8_000
    row = {"id": b"1", "name": "\U0001f468\u200d\U0001f469\u200d\U0001f467" * 4, "text": text}
    connection.execute(insert(things), row | {"content": text.encode()})
    found = connection.execute(select(things.c.name, things.c.text, things.c.content)).one()
    assert tuple(found) == (row["name"], text, text.encode())


def test_mysql_refuses_what_is_too_long(mariadb_schema: MariadbSchema) -> None:
    """A server that is not strict by itself would cut names, and keep the beginning."""
    with mariadb_schema.connection() as connection:
        things.create(connection)
        for column, value in (("name", "x" * 21), ("key", "x" * 41), ("id", b"x" * 17)):
            with pytest.raises(DBAPIError, match="too long"):
                connection.execute(insert(things), {"id": b"1", column: value})
