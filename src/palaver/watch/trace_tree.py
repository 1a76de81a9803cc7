"""The order in which a trace is drawn: each span below its parent, with what happened in it by time."""

from collections.abc import Sequence
from typing import NamedTuple

from palaver.watch.log_reader import LogLine
from palaver.watch.trace_reader import StoredEvent, StoredSpan

# Events of one span that are drawn: a delivery to a large group has one for each socket
MOST_EVENTS = 12


class Row(NamedTuple):
    """One row: a span, or an event or a log line of `span`, if its span is known."""

    depth: int
    at: int
    item: StoredSpan | StoredEvent | LogLine
    span: StoredSpan | None
    # Of a span that is not below its parent: that parent's id, if it names one
    lost_parent: str = ""


def rows_of(spans: Sequence[StoredSpan], lines: Sequence[LogLine]) -> list[Row]:
    """Every span and every line once, whatever parents the spans name: those without a known one come first
    in their depth, and where spans are each other's parents, the earliest of them does."""
    numbers: dict[str, int] = {}
    for number, span in enumerate(spans):
        numbers.setdefault(span.span_id, number)
    inside: list[list[Row | int]] = [[] for _ in spans]
    tops: list[int] = []
    for number, span in enumerate(spans):
        parent = numbers.get(span.parent_id, number)
        if parent == number:
            tops.append(number)
        else:
            inside[parent].append(number)
    for number, span in enumerate(spans):
        inside[number] += event_rows(span)
    trees: list[list[Row]] = []
    for line in lines:
        owner = numbers.get(line.span_id)
        if owner is None:
            trees.append([Row(0, line.at, line, None)])
        else:
            inside[owner].append(Row(0, line.at, line, spans[owner]))
    seen: set[int] = set()
    # What is in no tree of the tops is below a loop
    by_start = sorted(range(len(spans)), key=lambda number: spans[number].start)
    trees += [walk(top, spans, inside, seen) for top in (*tops, *by_start) if top not in seen]
    trees.sort(key=lambda rows: rows[0].at)
    return [row for rows in trees for row in rows]


def walk(
    top: int, spans: Sequence[StoredSpan], inside: Sequence[list[Row | int]], seen: set[int]
) -> list[Row]:
    """The rows of a span and of all below it that was not seen before, by time.

    Not recursive: a trace may be deeper than Python's stack.
    """

    def time_of(part: Row | int) -> int:
        return part.at if isinstance(part, Row) else spans[part].start

    rows: list[Row] = []
    waiting: list[tuple[int, Row | int]] = [(0, top)]
    while waiting:
        depth, part = waiting.pop()
        if isinstance(part, Row):
            rows.append(part._replace(depth=depth))
        elif part not in seen:
            seen.add(part)
            span = spans[part]
            rows.append(Row(depth, span.start, span, span, "" if depth else span.parent_id))
            parts = sorted(inside[part], key=time_of)
            waiting += [(depth + 1, below) for below in reversed(parts)]
    return rows


def event_rows(span: StoredSpan) -> list[Row]:
    """A span's events, of many the first ones."""
    rows = [Row(0, event.at, event, span) for event in span.events[:MOST_EVENTS]]
    more = len(span.events) - len(rows)
    if more:
        last = max(event.at for event in span.events)
        rows.append(Row(0, last, StoredEvent(f"… and {more:,} more", last), span))
    return rows
