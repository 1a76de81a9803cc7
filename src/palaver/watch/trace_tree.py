"""The order in which a trace is drawn: each span below its parent, with what happened in it by time."""

from collections.abc import Sequence
from typing import NamedTuple

from palaver.watch.lines import LogLine
from palaver.watch.trace_reader import KeptEvent, KeptSpan

# Events of one span that are drawn: a delivery to a large group has one for each socket
MOST_EVENTS = 12


class Row(NamedTuple):
    """One row: a span, or an event or a log line of `span`, if its span is known."""

    depth: int
    at: int
    item: KeptSpan | KeptEvent | LogLine
    span: KeptSpan | None
    # Of a span that is not below its parent: that parent's id, if it names one
    lost_parent: str = ""


def rows_of(spans: Sequence[KeptSpan], lines: Sequence[LogLine]) -> list[Row]:
    """Every span and every line once, whatever parents the spans name: those without a known one come first
    in their depth, and where spans are each other's parents, the earliest of them does."""
    place: dict[str, int] = {}
    for number, span in enumerate(spans):
        place.setdefault(span.span_id, number)
    parts: list[list[Row]] = [own_events(span) for span in spans]
    below: list[list[int]] = [[] for _ in spans]
    tops: list[int] = []
    for number, span in enumerate(spans):
        parent = place.get(span.parent_id, number)
        (tops if parent == number else below[parent]).append(number)
    loose: list[Row] = []
    for line in lines:
        owner = place.get(line.span_id)
        row = Row(0, line.at, line, None if owner is None else spans[owner])
        (loose if owner is None else parts[owner]).append(row)
    walk = Walk(spans, below, parts)
    drawn = [walk.from_top(number) for number in tops]
    # What is left is below a loop
    left = sorted(set(range(len(spans))) - walk.seen, key=lambda number: spans[number].start)
    drawn += [walk.from_top(number) for number in left]
    drawn += [[row] for row in loose]
    drawn.sort(key=lambda rows: rows[0].at if rows else 0)
    return [row for rows in drawn for row in rows]


def own_events(span: KeptSpan) -> list[Row]:
    """A span's events, of many the first ones."""
    shown = [Row(0, event.at, event, span) for event in span.events[:MOST_EVENTS]]
    more = len(span.events) - len(shown)
    if more:
        last = max(event.at for event in span.events)
        shown.append(Row(0, last, KeptEvent(f"… and {more:,} more", last), span))
    return shown


class Walk:
    """Goes through spans from their tops. `seen`: the spans that it was at, by number.

    Not recursive: a trace may be deeper than Python's stack.
    """

    def __init__(
        self, spans: Sequence[KeptSpan], below: Sequence[list[int]], parts: Sequence[list[Row]]
    ) -> None:
        self._spans = spans
        self._below = below
        self._parts = parts
        self.seen: set[int] = set()

    def from_top(self, top: int) -> list[Row]:
        """The rows of a span and all below it; none where it was seen before."""
        rows: list[Row] = []
        waiting: list[tuple[int, int | Row]] = [(0, top)]
        while waiting:
            depth, one = waiting.pop()
            if isinstance(one, Row):
                rows.append(one._replace(depth=depth))
            elif one not in self.seen:
                self.seen.add(one)
                span = self._spans[one]
                rows.append(Row(depth, span.start, span, span, "" if depth else span.parent_id))
                waiting += [(depth + 1, part) for part in reversed(self._inside(one))]
        return rows

    def _inside(self, number: int) -> list[int | Row]:
        inside: list[int | Row] = [*self._below[number], *self._parts[number]]
        return sorted(inside, key=self._time_of)

    def _time_of(self, part: "int | Row") -> int:
        return part.at if isinstance(part, Row) else self._spans[part].start
