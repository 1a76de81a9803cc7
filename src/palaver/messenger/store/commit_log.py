"""The commit log: one row a committed transaction, and what it has touched.

A transaction writes its row itself, so that both are there or neither. SQLite lets one transaction write at
a time: all that write to one file are one writer, and the newest row's number plus one is the next. On MySQL
see `writer_mysql.py`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Select, bindparam, delete, func, insert, select

from palaver.messenger.events import Commit, Event, Position, decode_entries, encode_entries
from palaver.messenger.store.schema import commit_log

P = ParamSpec("P")
T = TypeVar("T")
# A function over a connection that returns its result, and what the transaction touched
Change = Callable[Concatenate[Connection, P], tuple[T, list[Event]]]

# All that is written to one SQLite file
WRITER = 1

_newest = select(commit_log.c.writer, func.max(commit_log.c.number)).group_by(commit_log.c.writer)
_oldest = select(commit_log.c.writer, func.min(commit_log.c.number)).group_by(commit_log.c.writer)
_last_number = select(func.max(commit_log.c.number)).where(commit_log.c.writer == WRITER)
_after = (
    select(commit_log.c.writer, commit_log.c.number, commit_log.c.entries)
    .where(commit_log.c.writer == bindparam("of"), commit_log.c.number > bindparam("after"))
    .order_by(commit_log.c.number)
    .limit(bindparam("limit"))
)
_trim = delete(commit_log).where(
    commit_log.c.writer == bindparam("of"), commit_log.c.number <= bindparam("until")
)


class LogTrimmedError(Exception):
    """The log no longer has, or never had, what follows a position: whoever stood there must read anew."""


def append_commit(connection: Connection, entries: Sequence[Event]) -> Position | None:
    """Adds the row of the transaction under way; None where it has touched nothing."""
    if not entries:
        return None
    number = (connection.execute(_last_number).scalar() or 0) + 1
    connection.execute(
        insert(commit_log), {"writer": WRITER, "number": number, "entries": encode_entries(entries)}
    )
    return Position(WRITER, number)


def commit_change(
    connection: Connection, change: Callable[..., tuple[T, list[Event]]], args: Any, kwargs: Any
) -> tuple[T, list[Event], Position | None]:
    """Runs a change, and adds its row to the commit log."""
    result, events = change(connection, *args, **kwargs)
    return result, events, append_commit(connection, events)


def read_newest(connection: Connection) -> dict[int, int]:
    """The newest number of each writer; 0 where nothing is committed yet."""
    return {WRITER: 0, **read_numbers(connection, _newest)}


def read_numbers(connection: Connection, query: "Select[tuple[int, int]]") -> dict[int, int]:
    """One number of each writer."""
    rows: Iterable[Any] = connection.execute(query)
    return dict(map(tuple, rows))


def read_after(connection: Connection, followed: Mapping[int, int], limit: int) -> list[Commit]:
    """What was committed behind `followed` (writer -> number), in each writer's order; `limit` rows of each
    at most.

    Raises `LogTrimmedError` where rows behind a position are gone, and where a position lies beyond the
    newest row, as it does after a backup was restored.
    """
    newest = read_newest(connection)
    return read_behind(
        connection, {writer: followed.get(writer, 0) for writer in {*newest, *followed}}, newest, limit
    )


def read_holes(connection: Connection, holes: Mapping[int, int], limit: int) -> list[Commit]:
    """The same, of those writers alone that `holes` names."""
    return read_behind(connection, holes, read_newest(connection), limit)


def read_behind(
    connection: Connection, positions: Mapping[int, int], newest: Mapping[int, int], limit: int
) -> list[Commit]:
    """What was committed behind the positions. Raises `LogTrimmedError`."""
    oldest = read_numbers(connection, _oldest)
    found: list[Commit] = []
    for writer, after in positions.items():
        if after > newest.get(writer, 0) or after + 1 < oldest.get(writer, 1):
            raise LogTrimmedError
        for _, number, entries in connection.execute(_after, {"of": writer, "after": after, "limit": limit}):
            found.append(Commit(Position(writer, number), decode_entries(entries)))
    return found


def trim_log(connection: Connection, until: Mapping[int, int], rows: int) -> int:
    """Deletes rows up to the numbers of `until`, oldest first, `rows` of each writer at most. Returns how
    many.

    The newest row of a writer stays: it says which number comes next.
    """
    newest, oldest = read_newest(connection), read_numbers(connection, _oldest)
    deleted = 0
    for writer, number in until.items():
        if writer in oldest:
            end = min(number, newest[writer] - 1, oldest[writer] + rows - 1)
            deleted += connection.execute(_trim, {"of": writer, "until": end}).rowcount
    return deleted
