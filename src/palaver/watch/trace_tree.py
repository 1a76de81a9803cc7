"""A trace as people read it: each span below its parent, with what happened in it by time."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

from palaver.watch.log_reader import LogLine
from palaver.watch.terminal import (
    bold,
    clock,
    event_of,
    exception_rows,
    first_rows,
    level_text,
    own_fields,
    pairs,
    printable_row,
    red,
    service_text,
)
from palaver.watch.trace_reader import StoredEvent, StoredSpan, StoredTrace

# Events of one span that are drawn: a delivery to a large group has one for each socket
MOST_EVENTS = 12
MOST_LINKED = 20
# Deeper spans are indented no further
MOST_INDENT = 24
# Attributes that say what the span's name says, or an id that is in the report; all are in the JSON
HIDDEN = ("messaging.system", "messaging.operation.name", "messaging.message.id", "db.system.name")


class Row(NamedTuple):
    """A span, an event or a log line. `at`: nanoseconds since the epoch."""

    at: int
    service: str
    item: StoredSpan | StoredEvent | LogLine
    depth: int = 0


def rows_of(spans: Sequence[StoredSpan], lines: Sequence[LogLine]) -> list[Row]:
    """Every span and every line once, whatever parents the spans name: those without a known one come first
    in their depth, and where spans are each other's parents, the earliest of them does."""
    by_id = {span.span_id: span for span in reversed(spans)}
    below: dict[int, list[Row]] = defaultdict(list)
    tops: list[Row] = []
    # Each with the id of the span that it belongs below
    items = [(span.parent_id, Row(span.start, span.service, span)) for span in spans]
    items += [(line.span_id, Row(line.at, line.service, line)) for line in lines]
    items.sort(key=lambda one: one[1].at)
    for parent_id, row in items:
        parent = by_id.get(parent_id)
        (tops if parent is None or parent is row.item else below[id(parent)]).append(row)
    for span in spans:
        below[id(span)] = sorted([*below[id(span)], *event_rows(span)], key=lambda row: row.at)
    rows: list[Row] = []
    seen: set[int] = set()
    # What is below no top is in a loop. Not recursive: a trace may be deeper than Python's stack
    for top in (*tops, *(row for _, row in items)):
        waiting = [top]
        while waiting:
            row = waiting.pop()
            if id(row.item) not in seen:
                seen.add(id(row.item))
                rows.append(row)
                waiting += [part._replace(depth=row.depth + 1) for part in reversed(below[id(row.item)])]
    return rows


def event_rows(span: StoredSpan) -> list[Row]:
    """A span's events, of many the first ones."""
    events = span.events[:MOST_EVENTS]
    if len(span.events) > MOST_EVENTS:
        last = max(event.at for event in span.events)
        events = [*events, StoredEvent(f"… and {len(span.events) - MOST_EVENTS:,} more", last)]
    return [Row(event.at, span.service, event) for event in events]


# ---- drawing ----


def draw_trace(trace_id: str, trace: StoredTrace) -> list[str]:
    """The rows of a trace: when each began since the first, how long it took, its service, what it was."""
    rows = rows_of(trace.spans, trace.lines)
    linked = [Row(span.start, span.service, span) for span in trace.linked]
    start = min((row.at for row in rows or linked), default=0)
    drawn = [f"{bold(f'Trace {trace_id}')}{summary_of(rows, start)}", ""]
    for row in rows:
        drawn.append(draw_row(row, start))
        drawn += exception_rows(row.item) if isinstance(row.item, LogLine) else []
    if linked:
        drawn += ["", bold("linked, of other traces:")]
        drawn += first_rows([draw_row(row, start, is_linked=True) for row in linked], MOST_LINKED)
    return drawn


def summary_of(rows: Sequence[Row], start: int) -> str:
    """How much there is of a trace."""
    spans = [row.item for row in rows if isinstance(row.item, StoredSpan)]
    lines = sum(isinstance(row.item, LogLine) for row in rows)
    end = max([*(row.at for row in rows), *(span.end for span in spans)], default=start)
    services = len({row.service for row in rows})
    failed = sum(bool(span.error) for span in spans)
    counts = [count(len(spans), "span"), count(lines, "log line"), f"in {count(services, 'service')}"]
    text = f" · {' · '.join(counts)} · {milliseconds(end - start)} · from {clock(start)}"
    return text + (red(f" · {count(failed, 'error')}") if failed else "")


def count(number: int, noun: str) -> str:
    """`1 span`, `2 spans`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def milliseconds(ns: int) -> str:
    """A length of time: always in ms, so that rows compare."""
    return f"{ns / 1e6:,.2f} ms"


def draw_row(row: Row, start: int, *, is_linked: bool = False) -> str:
    """What shows a row; of a span its attributes too."""
    item, length, indent = row.item, "", " " * min(2 * row.depth, MOST_INDENT)
    if isinstance(item, StoredSpan):
        length = milliseconds(max(0, item.end - item.start))
        more = {"instance": item.instance} if item.instance else {}
        if is_linked:
            more["trace"] = item.trace_id
        elif item.parent_id and not row.depth:
            # It is not below its parent, whose service has lost its spans
            more["parent"] = item.parent_id
        name = printable_row(item.name)
        text = red(f"{name} error={printable_row(item.error)}") if item.error else name
        text += pairs({**shown(item.attributes), **more})
    elif isinstance(item, StoredEvent):
        text = f"◦ {printable_row(item.name)}{pairs(shown(item.attributes))}"
    else:
        text = f"· {event_of(item)} {level_text(item)}{pairs(own_fields(item))}"
    return f"{milliseconds(row.at - start):>13} {length:>13}  {service_text(row.service)} {indent}{text}"


def shown(attributes: dict[str, Any]) -> dict[str, Any]:
    """Attributes as a row has them."""
    return {name.removeprefix("palaver."): value for name, value in attributes.items() if name not in HIDDEN}
