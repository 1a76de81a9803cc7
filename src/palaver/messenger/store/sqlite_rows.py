"""Statements over many rows at once, on SQLite."""

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

LARGEST_CHUNK = 256


def chunks(count: int) -> Iterable[tuple[int, int]]:
    """(start, size) of pieces whose sizes are powers of two: few different statements, all of them cached."""
    start = 0
    size = LARGEST_CHUNK
    while start < count:
        while size > count - start:
            size >>= 1
        yield start, size
        start += size


_statements: dict[tuple[str, int], str] = {}


def run_rows(raw: sqlite3.Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Runs `statement`, whose `{}` takes the rows' question marks, over all rows, many at a time."""
    for start, size in chunks(len(rows)):
        sql = _statements.get((statement, size))
        if sql is None:
            marks = "(" + ",".join("?" * len(rows[0])) + ")"
            sql = _statements[statement, size] = statement.format(",".join([marks] * size))
        raw.execute(sql, list(chain.from_iterable(rows[start : start + size])))
