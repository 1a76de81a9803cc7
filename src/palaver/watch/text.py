"""How log lines read on a terminal."""

from datetime import UTC, datetime
from typing import Any

from palaver.watch.lines import LogLine
from palaver.watch.terminal import Line, Piece, printable, shown

SERVICE_STYLES = {"gateway": "cyan", "messenger": "blue", "auth": "magenta"}
LEVEL_STYLES = {
    "debug": "dim",
    "info": "green",
    "warning": "yellow",
    "error": "red",
    "critical": "bold red",
}
# Fields that have a place of their own, or say nothing to a reader of one line
APART = ("time", "level", "service", "event", "trace_id", "span_id", "exception", "stack")


def clock(at: int) -> str:
    """Nanoseconds since the epoch as UTC, to the millisecond."""
    milliseconds = at // 1_000_000
    try:
        time = datetime.fromtimestamp(milliseconds // 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return f"{at} ns"
    return f"{time:%Y-%m-%d %H:%M:%S}.{milliseconds % 1000:03d}Z"


def service_style(service: str) -> str:
    """The colour of a service's name."""
    return SERVICE_STYLES.get(service, "")


def log_text(line: LogLine) -> list[Line]:
    """The rows that show a line: time, level, service, event, facts; an exception below."""
    head = [
        Piece(f"{clock(line.at)} ", "dim"),
        Piece(f"{printable(line.level):<8} ", LEVEL_STYLES.get(line.level, "")),
        Piece(f"{printable(line.service):<9} ", service_style(line.service)),
    ]
    if line.fields is None:
        return [[*head, Piece(printable(line.raw.decode(errors="replace")), "dim")]]
    facts = [*facts_of(line.fields), *trace_of(line.fields)]
    first = [*head, Piece(event_of(line.fields), "bold"), *facts]
    return [first, *exception_of(line.fields)]


def event_of(fields: dict[str, Any]) -> str:
    """What a line says has happened."""
    return printable(" ".join(str(fields.get("event", "")).splitlines()))


def facts_of(fields: dict[str, Any]) -> list[Piece]:
    """A line's own facts."""
    return pairs({name: value for name, value in fields.items() if name not in APART})


def trace_of(fields: dict[str, Any]) -> list[Piece]:
    """What `palaver trace` is asked with."""
    trace_id = fields.get("trace_id")
    return pairs({"trace_id": trace_id}) if trace_id else []


def exception_of(fields: dict[str, Any]) -> list[Line]:
    """The rows of an exception's traceback."""
    text = "\n".join(str(fields[name]) for name in ("stack", "exception") if fields.get(name))
    return [[Piece(f"    {printable(row)}", "red")] for row in text.splitlines()]


def pairs(facts: dict[str, Any]) -> list[Piece]:
    """`key=value`, each with a space before it."""
    pieces = []
    for name, value in facts.items():
        pieces += [Piece(f" {printable(name)}=", "dim"), Piece(shown(value))]
    return pieces
