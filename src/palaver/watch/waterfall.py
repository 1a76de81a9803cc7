"""A trace as people read it: its spans as bars on one scale of time, and what was logged between them."""

from collections.abc import Sequence
from typing import Any

from palaver.watch.lines import LogLine
from palaver.watch.terminal import Line, Piece, printable
from palaver.watch.text import LEVEL_STYLES, clock, event_of, exception_of, facts_of, pairs, service_style
from palaver.watch.trace_reader import KeptEvent, KeptSpan, KeptTrace
from palaver.watch.trace_tree import Row, rows_of

BAR_COLUMNS = (10, 40)
# Deeper spans are indented no further, and longer names push their row to the right
MOST_INDENT = 24
MOST_NAME = 56
MOST_LINKED = 20
TIME_COLUMNS = 11
# What the facts behind a bar may want of a terminal's width
FACTS_COLUMNS = 40

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


def draw_trace(trace_id: str, trace: KeptTrace, lines: Sequence[LogLine], columns: int) -> list[Line]:
    """The rows of a trace."""
    rows = rows_of(trace.spans, lines)
    if not rows:
        return [[Piece(f"Trace {trace_id}", "bold")], *draw_linked(trace.linked)]
    scale = Scale(rows, columns)
    drawn: list[Line] = [summary_of(trace_id, trace.spans, lines, scale), []]
    for row in rows:
        drawn += scale.draw(row)
    return [*drawn, *draw_linked(trace.linked)]


def summary_of(trace_id: str, spans: Sequence[KeptSpan], lines: Sequence[LogLine], scale: "Scale") -> Line:
    """The line above the rows."""
    services = len({span.service for span in spans} | {line.service for line in lines})
    failed = sum(bool(span.error) for span in spans)
    counts = [
        count(len(spans), "span"),
        count(len(lines), "log line"),
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
        self._services = max(len(service_of(row)) for row in rows)
        self._names = min(MOST_NAME, max(len(label_of(row)) for row in rows))
        taken = self._services + self._names + 2 * TIME_COLUMNS + FACTS_COLUMNS
        self._bars = min(max(columns - taken, BAR_COLUMNS[0]), BAR_COLUMNS[1])

    def draw(self, row: Row) -> list[Line]:
        """What shows a row: a line, and an exception below it."""
        style = service_style(service_of(row))
        is_span = isinstance(row.item, KeptSpan)
        failed = isinstance(row.item, KeptSpan) and bool(row.item.error)
        name_style = "red" if failed else "" if is_span else "dim"
        line = [
            Piece(f"{service_of(row):<{self._services}} ", style),
            Piece(f"{label_of(row):<{self._names}} ", name_style),
            Piece(f"{milliseconds(row.at - self.start):>{TIME_COLUMNS}} "),
            Piece(f"{milliseconds(end_of(row) - row.at) if is_span else '':>{TIME_COLUMNS}}  ", "bold"),
            Piece(f"{self.bar(row)} ", "red" if failed else style),
            *facts_of_row(row),
        ]
        below = exception_of(row.item.fields or {}) if isinstance(row.item, LogLine) else []
        return [line, *below]

    def bar(self, row: Row) -> str:
        """A span's bar, or the moment of an event or line."""
        first = self._column(row.at)
        if not isinstance(row.item, KeptSpan):
            return f"{' ' * first}·".ljust(self._bars)
        last = self._column(end_of(row))
        return (" " * first + "█" * (last - first + 1)).ljust(self._bars)

    def _column(self, at: int) -> int:
        return min(self._bars - 1, (at - self.start) * self._bars // self.length) if self.length else 0


def end_of(row: Row) -> int:
    """The end of a row's time."""
    return max(row.item.end, row.at) if isinstance(row.item, KeptSpan) else row.at


def service_of(row: Row) -> str:
    """The service that a row is from."""
    if isinstance(row.item, LogLine):
        return printable(row.item.service)
    return printable(row.span.service) if row.span else ""


def label_of(row: Row) -> str:
    """The row's name, indented by its depth."""
    indent = " " * min(2 * row.depth, MOST_INDENT)
    match row.item:
        case KeptSpan():
            return f"{indent}{printable(row.item.name)}"
        case KeptEvent():
            return f"{indent}◦ {printable(row.item.name)}"
        case LogLine():
            return f"{indent}· {event_of(row.item.fields or {})}"


def facts_of_row(row: Row) -> list[Piece]:
    """What is worth knowing of a row, as `key=value`."""
    match row.item:
        case KeptSpan():
            error = [Piece(f" error={printable(row.item.error)}", "bold red")] if row.item.error else []
            above = pairs({"parent": row.lost_parent}) if row.lost_parent else []
            return [*error, *pairs(facts_of_span(row.item)), *above]
        case KeptEvent():
            return pairs(labelled(row.item.attributes))
        case LogLine():
            level = Piece(f" {printable(row.item.level)}", LEVEL_STYLES.get(row.item.level, ""))
            return [level, *facts_of(row.item.fields or {})]


def facts_of_span(span: KeptSpan) -> dict[str, Any]:
    """A span's attributes that matter; not what its name says already."""
    named = (*span.name.split(" "), *span.name.rsplit("/", 1))
    found = labelled(span.attributes)
    if "http.route" not in span.attributes and "url.path" in span.attributes:
        found["path"] = span.attributes["url.path"]
    found = {label: value for label, value in found.items() if label not in NAMED or value not in named}
    if found.get("messages") == 1:
        del found["messages"]
    return found


def labelled(attributes: dict[str, Any]) -> dict[str, Any]:
    """The attributes that readers want, by what they are called in a row."""
    found = {label: attributes[name] for name, label in LABELS.items() if name in attributes}
    for name, value in attributes.items():
        if name.startswith(OWN_PREFIX):
            found[name.removeprefix(OWN_PREFIX).removesuffix("_id")] = value
    return found


def draw_linked(linked: Sequence[KeptSpan]) -> list[Line]:
    """The spans of other traces that link to this one."""
    if not linked:
        return []
    drawn: list[Line] = [[], [Piece("linked, of other traces:", "bold")]]
    for span in linked[:MOST_LINKED]:
        style = "red" if span.error else ""
        error = [Piece(f" error={printable(span.error)}", "bold red")] if span.error else []
        drawn.append(
            [
                Piece(f"{printable(span.service)} ", service_style(span.service)),
                Piece(f"{printable(span.name)} ", style),
                Piece(f"{clock(span.start)} {milliseconds(max(0, span.end - span.start))} "),
                *error,
                *pairs({**facts_of_span(span), "trace": span.trace_id}),
            ]
        )
    if len(linked) > MOST_LINKED:
        drawn.append([Piece(f"… and {len(linked) - MOST_LINKED:,} more (all with --json)", "dim")])
    return drawn
