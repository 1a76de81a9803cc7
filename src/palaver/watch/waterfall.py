"""A trace as people read it: its spans as bars on one scale of time, and what was logged between them."""

from collections.abc import Sequence
from typing import Any

from palaver.watch.log_reader import LogLine
from palaver.watch.terminal import (
    LEVEL_STYLES,
    SERVICE_STYLES,
    Line,
    Piece,
    clock,
    event_of,
    exception_rows,
    own_fields,
    pairs,
    printable_row,
    service_piece,
)
from palaver.watch.trace_reader import StoredEvent, StoredSpan, StoredTrace
from palaver.watch.trace_tree import Row, rows_of

BAR_COLUMNS = (10, 40)
# Deeper spans are indented no further, and longer names push their row to the right
MOST_INDENT = 24
MOST_NAME = 56
MOST_LINKED = 20
TIME_COLUMNS = 11
# What the fields behind a bar may want of a terminal's width
FIELD_COLUMNS = 40

# Attributes that readers want, as they are called in a row; those of ours (`palaver.…`) are shown besides
LABELS = {
    "http.request.method": "method",
    "http.route": "route",
    "http.response.status_code": "status",
    "rpc.service": "service",
    "rpc.method": "method",
    "rpc.grpc.status_code": "status",
    "rpc.response.status_code": "status",
    "db.operation.name": "operation",
    "db.operation.batch.size": "requests",
    "messaging.batch.message_count": "messages",
    "user.id": "user",
    "session.id": "session",
}
# What a span is named after
NAMED = frozenset(("method", "route", "path", "service"))
OWN_PREFIX = "palaver."


def draw_trace(trace_id: str, trace: StoredTrace, columns: int) -> list[Line]:
    """The rows of a trace."""
    rows = rows_of(trace.spans, trace.lines)
    if not rows:
        return [[Piece(f"Trace {trace_id}", "bold")], *draw_linked(trace.linked)]
    scale = Scale(rows, columns)
    drawn = [row for one in rows for row in scale.draw(one)]
    return [summary_of(trace_id, trace, scale), [], *drawn, *draw_linked(trace.linked)]


def summary_of(trace_id: str, trace: StoredTrace, scale: "Scale") -> Line:
    """The line above the rows."""
    services = len({span.service for span in trace.spans} | {line.service for line in trace.lines})
    failed = sum(bool(span.error) for span in trace.spans)
    counts = [
        count(len(trace.spans), "span"),
        count(len(trace.lines), "log line"),
        f"in {count(services, 'service')}",
        milliseconds(scale.length),
        f"from {clock(scale.start)}",
    ]
    errors = [Piece(f" · {count(failed, 'error')}", "bold red")] if failed else []
    return [Piece(f"Trace {trace_id}", "bold"), Piece(f" · {' · '.join(counts)}"), *errors]


def count(number: int, noun: str) -> str:
    """`1 span`, `2 spans`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def milliseconds(ns: int) -> str:
    """A length of time: always in ms, so that rows compare."""
    return f"{ns / 1e6:,.2f} ms"


class Scale:
    """Draws rows on one scale of time. `start` and `length`: nanoseconds."""

    def __init__(self, rows: Sequence[Row], columns: int) -> None:
        self.start = min(row.at for row in rows)
        self.length = max(end_of(row) for row in rows) - self.start
        self._services = max(len(printable_row(service_of(row))) for row in rows)
        self._names = min(MOST_NAME, max(len(label_of(row)) for row in rows))
        taken = self._services + self._names + 2 * TIME_COLUMNS + FIELD_COLUMNS
        self._bars = min(max(columns - taken, BAR_COLUMNS[0]), BAR_COLUMNS[1])

    def draw(self, row: Row) -> list[Line]:
        """What shows a row: a line, and an exception below it."""
        service, item = service_of(row), row.item
        span = item if isinstance(item, StoredSpan) else None
        red = "red" if span is not None and span.error else ""
        line = [
            service_piece(service, self._services),
            Piece(f"{label_of(row):<{self._names}} ", red if span is not None else "dim"),
            Piece(f"{milliseconds(row.at - self.start):>{TIME_COLUMNS}} "),
            Piece(f"{milliseconds(end_of(row) - row.at) if span else '':>{TIME_COLUMNS}}  ", "bold"),
            Piece(f"{self.bar(row)} ", red or SERVICE_STYLES.get(service, "")),
            *fields_of(row),
        ]
        return [line, *(exception_rows(item) if isinstance(item, LogLine) else [])]

    def bar(self, row: Row) -> str:
        """A span's bar, or the moment of an event or line."""
        first = self._column(row.at)
        if not isinstance(row.item, StoredSpan):
            return f"{' ' * first}·".ljust(self._bars)
        last = self._column(end_of(row))
        return (" " * first + "█" * (last - first + 1)).ljust(self._bars)

    def _column(self, at: int) -> int:
        return min(self._bars - 1, (at - self.start) * self._bars // self.length) if self.length else 0


def end_of(row: Row) -> int:
    """The end of a row's time."""
    return max(row.item.end, row.at) if isinstance(row.item, StoredSpan) else row.at


def service_of(row: Row) -> str:
    """The service that a row is from."""
    if isinstance(row.item, LogLine):
        return row.item.service
    return row.span.service if row.span else ""


def label_of(row: Row) -> str:
    """The row's name, indented by its depth."""
    indent = " " * min(2 * row.depth, MOST_INDENT)
    match row.item:
        case StoredSpan():
            return f"{indent}{printable_row(row.item.name)}"
        case StoredEvent():
            return f"{indent}◦ {printable_row(row.item.name)}"
        case LogLine():
            return f"{indent}· {event_of(row.item)}"


def fields_of(row: Row) -> list[Piece]:
    """What is worth knowing of a row, as `key=value`."""
    match row.item:
        case StoredSpan():
            parent = pairs({"parent": row.lost_parent}) if row.lost_parent else []
            return [*span_fields(row.item), *parent]
        case StoredEvent():
            return pairs(labelled(row.item.attributes))
        case LogLine():
            level = Piece(f" {printable_row(row.item.level)}", LEVEL_STYLES.get(row.item.level, ""))
            return [level, *pairs(own_fields(row.item))]


def span_fields(span: StoredSpan, **more: str) -> list[Piece]:
    """A span's error, and those of its attributes that matter and are not in its name."""
    named = (*span.name.split(" "), *span.name.rsplit("/", 1))
    found = labelled(span.attributes)
    if "http.route" not in span.attributes and "url.path" in span.attributes:
        found["path"] = span.attributes["url.path"]
    found = {label: value for label, value in found.items() if label not in NAMED or value not in named}
    if found.get("messages") == 1:
        del found["messages"]
    if span.instance:
        found["instance"] = span.instance
    error = [Piece(f" error={printable_row(span.error)}", "bold red")] if span.error else []
    return [*error, *pairs({**found, **more})]


def labelled(attributes: dict[str, Any]) -> dict[str, Any]:
    """The attributes that readers want, by what they are called in a row."""
    found = {label: attributes[name] for name, label in LABELS.items() if name in attributes}
    for name, value in attributes.items():
        if name.startswith(OWN_PREFIX):
            found[name.removeprefix(OWN_PREFIX).removesuffix("_id")] = value
    return found


def draw_linked(linked: Sequence[StoredSpan]) -> list[Line]:
    """The spans of other traces that link to this one."""
    if not linked:
        return []
    drawn: list[Line] = [[], [Piece("linked, of other traces:", "bold")]]
    drawn += [
        [
            service_piece(span.service),
            Piece(f"{printable_row(span.name)} ", "red" if span.error else ""),
            Piece(f"{clock(span.start)} {milliseconds(max(0, span.end - span.start))} "),
            *span_fields(span, trace=span.trace_id),
        ]
        for span in linked[:MOST_LINKED]
    ]
    if len(linked) > MOST_LINKED:
        drawn.append([Piece(f"… and {len(linked) - MOST_LINKED:,} more (all with --json)", "dim")])
    return drawn
