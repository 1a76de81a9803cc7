"""What the journal has of a run of seqs, and which segments have the rest: one state of both.

Rows leave the journal only after their segment was written, so that one transaction that sees a row missing
sees its segment.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, select

from palaver.messenger.domain import Message
from palaver.messenger.store.messages import COLUMNS, SEQ, TEXT, Place, fetch_rows, read_at
from palaver.messenger.store.schema import messages
from palaver.messenger.store.segments import Segment, read_segments
from palaver.runtime.sql.compiled_query import Query
from palaver.runtime.texts import bytes_of

Row = tuple[Any, ...]

# Rows that are read from the archive at once, so that a page of very long texts is not read far beyond its
# end
PIECE_ROWS = 100

_is_in_span = (
    messages.c.chat_id == bindparam("chat_id"),
    messages.c.seq >= bindparam("first"),
    messages.c.seq <= bindparam("last"),
)
_forwards = Query(select(*COLUMNS).where(*_is_in_span).order_by(messages.c.seq))
_backwards = Query(select(*COLUMNS).where(*_is_in_span).order_by(messages.c.seq.desc()))
_any = Query(select(messages.c.seq).where(*_is_in_span).limit(1))


class Piece(NamedTuple):
    """Consecutive seqs that one shard has."""

    segment: Segment
    first_seq: int
    last_seq: int


class Span(NamedTuple):
    """`rows` of the journal and `pieces` of the archive, both in the order in which they are walked."""

    rows: Sequence[Row]
    pieces: Sequence[Piece]


class PlacesFound(NamedTuple):
    """Messages that the journal has at some places, and, for the others, the segments that have them."""

    found: dict[Place, Message]
    archived: dict[Place, Segment]


def read_span(
    connection: Connection, chat_id: bytes, first: int, last: int, most_bytes: int, *, backwards: bool
) -> Span:
    """Walks the seqs from `first` to `last`, or back, until the journal's texts have so many bytes."""
    if first > last:
        return Span([], [])
    given = {"chat_id": chat_id, "first": first, "last": last}
    rows = fetch_rows(connection, _backwards if backwards else _forwards, given, most_bytes)
    if len(rows) == last - first + 1:
        return Span(rows, [])
    if rows:
        first, last = reached(connection, given, rows[-1][SEQ], backwards=backwards)
    gaps = list(gaps_of(sorted(row[SEQ] for row in rows), first, last))
    if not gaps:
        return Span(rows, [])
    found = read_segments(connection, chat_id, gaps[0][0], gaps[-1][1])
    pieces = list(pieces_of(gaps, found))
    return Span(rows, pieces[::-1] if backwards else pieces)


def reached(connection: Connection, given: dict[str, Any], end: int, *, backwards: bool) -> tuple[int, int]:
    """The seqs that rows which end with `end` speak of: all, unless the journal has more, which were left
    out for their bytes."""
    beyond = {**given, "last": end - 1} if backwards else {**given, "first": end + 1}
    if not _any.rows(connection, beyond):
        return given["first"], given["last"]
    return (end, given["last"]) if backwards else (given["first"], end)


def gaps_of(seqs: Iterable[int], first: int, last: int) -> Iterator[tuple[int, int]]:
    """The runs between `first` and `last` that ascending `seqs` lack."""
    expected = first
    for seq in seqs:
        if seq > expected:
            yield expected, seq - 1
        expected = seq + 1
    if expected <= last:
        yield expected, last


def pieces_of(gaps: Iterable[tuple[int, int]], segments: Sequence[Segment]) -> Iterator[Piece]:
    """What of ascending gaps lies in ascending segments, in pieces that are read at once."""
    for first, last in gaps:
        for segment in segments:
            start, end = max(first, segment.first_seq), min(last, segment.last_seq)
            for piece in range(start, end + 1, PIECE_ROWS):
                yield Piece(segment, piece, min(piece + PIECE_ROWS - 1, end))


def read_places(connection: Connection, places: Sequence[Place], query: Any) -> PlacesFound:
    """See `PlacesFound`. `query` selects the journal's messages at places."""
    found = read_at(connection, places, query)
    archived = {}
    for chat_id, seq in places:
        if (chat_id, seq) not in found:
            for segment in read_segments(connection, chat_id, seq, seq):
                archived[chat_id, seq] = segment
    return PlacesFound(found, archived)


class Room:
    """How many bytes of texts still fit a page, which has one row at least."""

    def __init__(self, most_bytes: int) -> None:
        self._left = most_bytes
        self._is_empty = True

    def take(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The rows that fit, up to the first that does not."""
        for row in rows:
            self._left -= bytes_of(row[TEXT])
            if self._left < 0 and not self._is_empty:
                return
            self._is_empty = False
            yield row

    @property
    def is_full(self) -> bool:
        """Whether a row did not fit."""
        return self._left < 0
