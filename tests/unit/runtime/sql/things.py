"""One table, and what is done with it."""

from sqlalchemy import Connection, text


def make_table(connection: Connection) -> None:
    connection.execute(text("CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT)"))


def add(connection: Connection, number: int, name: str = "") -> None:
    connection.execute(text("INSERT INTO things VALUES (:id, :name)"), {"id": number, "name": name})


def count(connection: Connection) -> int:
    return int(connection.execute(text("SELECT count(*) FROM things")).scalar_one())
