"""Output: rows of text, coloured on a terminal alone, and how values look in them."""

import functools
import json
import os
import select
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, ParamSpec

import click

from palaver.runtime.printable import printable
from palaver.watch.log_reader import LogLine

SERVICE_COLOURS = {"gateway": "cyan", "messenger": "blue", "auth": "magenta"}
LEVEL_COLOURS = {"debug": "white", "info": "green", "warning": "yellow", "error": "red", "critical": "red"}
# Fields that have a place of their own in a row
PLACED_FIELDS = ("time", "level", "service", "event", "trace_id", "span_id", "exception", "stack")

P = ParamSpec("P")

bold = functools.partial(click.style, bold=True)
dim = functools.partial(click.style, dim=True)
red = functools.partial(click.style, fg="red")


def write_rows(*rows: str) -> None:
    """Writes rows to stdout, without their colours where it is no terminal. Raises `BrokenPipeError`."""
    is_coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    for row in rows:
        sys.stdout.write((row if is_coloured else click.unstyle(row).rstrip()) + "\n")


def until_nobody_reads(show: Callable[P, int]) -> Callable[P, int]:
    """Lets a command end quietly on Ctrl-C, and where stdout's reader is gone, as `head` soon is."""

    @functools.wraps(show)
    def run(*args: P.args, **options: P.kwargs) -> int:
        # A terminal that knows no Unicode is no reason to fail
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr] # only where a test replaced it
        try:
            code = show(*args, **options)
            sys.stdout.flush()
        except KeyboardInterrupt:
            return 0
        except BrokenPipeError:
            # Python would try to write the rest once more when it ends, and complain
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        return code

    return run


def reader_is_gone(seconds: float) -> bool:
    """Waits, but no longer than until the other end of stdout is closed; whether it is."""
    poll = select.poll()
    # No event is wanted: errors and hang-ups are always reported
    poll.register(sys.stdout.fileno(), 0)
    return bool(poll.poll(seconds * 1000))


# ---- values ----


def quoted(value: Any) -> str:
    """A value as `key=value` shows it: quoted where it has spaces, and without anything that a terminal could
    take for a command."""
    if isinstance(value, str) and value and value.isprintable() and not set(value) & {" ", '"', "="}:
        return value
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else json.dumps(value)


def printable_row(text: str) -> str:
    """One line of foreign text, without anything that a terminal could take for a command."""
    return printable(text.rstrip("\r").expandtabs(), instead="\N{REPLACEMENT CHARACTER}")


def pairs(fields: dict[str, Any]) -> str:
    """`key=value`, each with a space before it."""
    return "".join(f" {dim(printable_row(name) + '=')}{quoted(value)}" for name, value in fields.items())


def service_text(service: str) -> str:
    """A service's name in its colour, as a column."""
    return click.style(f"{printable_row(service):<9}", fg=SERVICE_COLOURS.get(service))


def first_rows(rows: Sequence[str], most: int) -> list[str]:
    """The first rows, and how many more there are."""
    more = [dim(f"  … and {len(rows) - most:,} more (all with --json)")] if len(rows) > most else []
    return [*rows[:most], *more]


def clock(at: int) -> str:
    """Nanoseconds since the epoch as UTC, to the millisecond."""
    milliseconds = at // 1_000_000
    try:
        time = datetime.fromtimestamp(milliseconds // 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return f"{at} ns"
    return f"{time:%Y-%m-%d %H:%M:%S}.{milliseconds % 1000:03d}Z"


# ---- log lines ----


def log_rows(line: LogLine) -> list[str]:
    """The rows that show a line: time, level, service, event, fields; an exception below."""
    head = f"{dim(clock(line.at))} {level_text(line, 8)} {service_text(line.service)}"
    if line.fields is None:
        return [f"{head} {dim(printable_row(line.raw.decode(errors='replace')))}"]
    trace_id = line.fields.get("trace_id")
    named = {"trace_id": trace_id} if trace_id else {}
    return [f"{head} {bold(event_of(line))}{pairs({**own_fields(line), **named})}", *exception_rows(line)]


def level_text(line: LogLine, columns: int = 0) -> str:
    """A line's level in its colour."""
    return click.style(f"{printable_row(line.level):<{columns}}", fg=LEVEL_COLOURS.get(line.level))


def event_of(line: LogLine) -> str:
    """What happened, by an event."""
    return printable_row(" ".join(str((line.fields or {}).get("event", "")).splitlines()))


def own_fields(line: LogLine) -> dict[str, Any]:
    """The fields of an event that not every event has."""
    return {name: value for name, value in (line.fields or {}).items() if name not in PLACED_FIELDS}


def exception_rows(line: LogLine) -> list[str]:
    """The rows of an exception's traceback."""
    fields = line.fields or {}
    text = "\n".join(str(fields[name]) for name in ("stack", "exception") if fields.get(name))
    return [red(f"    {printable_row(row)}") for row in text.splitlines()]
