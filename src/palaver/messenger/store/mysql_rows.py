"""Statements over many rows at once, on MySQL."""

from collections.abc import Iterator, Sequence
from typing import Any

from asyncmy.converters import escape_string

# Writing the text of a statement holds the event loop for as long as its rows take: 1,000 take 6 ms
CHUNK_ROWS = 250
# Of a statement's values: escaped, each byte may become two, and a statement must be shorter than 4 MiB
CHUNK_BYTES = 1_500_000

Row = Sequence[Any]
# PEP 249, of the driver
Cursor = Any


def chunks(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """The rows in pieces of at most `CHUNK_ROWS` rows and about `CHUNK_BYTES` bytes."""
    start, size = 0, 0
    for end, row in enumerate(rows):
        added = sum(len(value) for value in row if isinstance(value, (bytes, str)))
        # Texts may have four bytes a character
        added += sum(3 * len(value) for value in row if isinstance(value, str) and not value.isascii())
        if end > start and (end - start == CHUNK_ROWS or size + added > CHUNK_BYTES):
            yield rows[start:end]
            start, size = end, 0
        size += added
    if start < len(rows):
        yield rows[start:]


def insert_rows(cursor: Cursor, table: str, columns: str, rows: Sequence[Row]) -> None:
    """Inserts all rows, many at a time."""
    for part in chunks(rows):
        values = ",".join([f"({literals(row)})" for row in part])
        cursor.execute(f"INSERT INTO {table} ({columns}) VALUES {values}")  # noqa: S608 - names of ours, and literals


def run_rows(cursor: Cursor, statement: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Runs `statement`, whose `{}` is a table with these columns, over all rows, many at a time.

    A table of rows as MySQL and MariaDB both take it: their VALUES are not the same.
    """
    for part in chunks(rows):
        first = ",".join(
            [f"{literal(value)} AS {name}" for value, name in zip(part[0], columns, strict=True)]
        )
        table = " UNION ALL SELECT ".join([first, *[literals(row) for row in part[1:]]])
        cursor.execute(statement.format(f"(SELECT {table})"))


def select_rows(cursor: Cursor, statement: str, keys: Sequence[Row]) -> list[tuple[Any, ...]]:
    """The rows that `statement` finds, whose `{}` takes the keys, many at a time. In the order of the keys'
    pieces."""
    found: list[tuple[Any, ...]] = []
    for part in chunks(keys):
        values = [literal(key[0]) if len(key) == 1 else f"({literals(key)})" for key in part]
        cursor.execute(statement.format(",".join(values)))
        found += cursor.fetchall()
    return found


def literals(row: Row) -> str:
    """The values of a row, as a statement has them."""
    return ",".join([literal(value) for value in row])


def literal(value: Any) -> str:
    """A value as a statement has it. The driver's own way with bytes takes most of a batch's time.

    Texts rely on the backslash's meaning, which each connection makes sure of (`sql_mode`). Raises
    `TypeError` for what no column has.
    """
    if type(value) is bytes:
        return f"x'{value.hex()}'"
    if type(value) is str:
        return f"'{escape_string(value)}'"
    if isinstance(value, int):
        return str(int(value))
    raise TypeError(type(value).__name__)
