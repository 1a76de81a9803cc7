"""Output: coloured rows on a terminal, plain ones into pipes and files; and how values look in them."""

import functools
import io
import json
import os
import select
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, ParamSpec, TextIO

from palaver.runtime.printable import printable
from palaver.watch.log_reader import LogLine

# Columns where they are not known
COLUMNS = 120
SERVICE_STYLES = {"gateway": "cyan", "messenger": "blue", "auth": "magenta"}
LEVEL_STYLES = {
    "debug": "dim",
    "info": "green",
    "warning": "yellow",
    "error": "red",
    "critical": "bold red",
}
# Fields that have a place of their own in a row
PLACED_FIELDS = ("time", "level", "service", "event", "trace_id", "span_id", "exception", "stack")

P = ParamSpec("P")


class Piece(NamedTuple):
    """A part of a row. `style`: as rich writes it, e.g. `bold red`; empty: none."""

    text: str
    style: str = ""


Line = Sequence[Piece]


class Terminal:
    """Writes rows to a stream. `is_coloured`: by default, whether it is a terminal."""

    def __init__(self, stream: TextIO | None = None, is_coloured: bool | None = None) -> None:
        self._stream = stream or sys.stdout
        if isinstance(self._stream, io.TextIOWrapper):
            # A terminal that knows no Unicode is no reason to fail
            self._stream.reconfigure(errors="replace")
        self._console: Any = None
        if self._stream.isatty() if is_coloured is None else is_coloured:
            from rich.console import Console

            self._console = Console(file=self._stream, highlight=False, markup=False, emoji=False)
        self.columns = shutil.get_terminal_size((COLUMNS, 24)).columns

    def write(self, lines: Iterable[Line]) -> None:
        """Writes rows. Raises `BrokenPipeError`."""
        for line in lines:
            if self._console is None:
                self.write_text("".join(piece.text for piece in line).rstrip())
            else:
                from rich.text import Text

                self._console.print(Text.assemble(*line), soft_wrap=True)

    def write_text(self, text: str) -> None:
        """Writes a row as it is. Raises `BrokenPipeError`."""
        self._stream.write(text + "\n")

    def flush(self) -> None:
        """Sends what was written. Raises `BrokenPipeError`."""
        self._stream.flush()


def until_nobody_reads(show: Callable[P, int]) -> Callable[P, int]:
    """Lets a command end quietly on Ctrl-C, and where stdout's reader is gone, as `head` soon is."""

    @functools.wraps(show)
    def run(*args: P.args, **options: P.kwargs) -> int:
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
    if not isinstance(value, str):
        text = json.dumps(value, ensure_ascii=False)
        return text if text.isprintable() else json.dumps(value)
    if value and value.isprintable() and not set(value) & {" ", '"', "="}:
        return value
    return json.dumps(value, ensure_ascii=not value.isprintable())


def printable_row(text: str) -> str:
    """One line of foreign text, without anything that a terminal could take for a command."""
    return printable(text.rstrip("\r").expandtabs(), instead="\N{REPLACEMENT CHARACTER}")


def pairs(fields: dict[str, Any]) -> list[Piece]:
    """`key=value`, each with a space before it."""
    both = [
        (Piece(f" {printable_row(name)}=", "dim"), Piece(quoted(value))) for name, value in fields.items()
    ]
    return [piece for pair in both for piece in pair]


def service_piece(service: str, columns: int = 0) -> Piece:
    """A service's name in its colour, and a space."""
    return Piece(f"{printable_row(service):<{columns}} ", SERVICE_STYLES.get(service, ""))


def clock(at: int) -> str:
    """Nanoseconds since the epoch as UTC, to the millisecond."""
    milliseconds = at // 1_000_000
    try:
        time = datetime.fromtimestamp(milliseconds // 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return f"{at} ns"
    return f"{time:%Y-%m-%d %H:%M:%S}.{milliseconds % 1000:03d}Z"


# ---- log lines ----


def log_rows(line: LogLine) -> list[Line]:
    """The rows that show a line: time, level, service, event, fields; an exception below."""
    head = [
        Piece(f"{clock(line.at)} ", "dim"),
        Piece(f"{printable_row(line.level):<8} ", LEVEL_STYLES.get(line.level, "")),
        service_piece(line.service, 9),
    ]
    if line.fields is None:
        return [[*head, Piece(printable_row(line.raw.decode(errors="replace")), "dim")]]
    trace_id = line.fields.get("trace_id")
    named = {"trace_id": trace_id} if trace_id else {}
    first = [*head, Piece(event_of(line), "bold"), *pairs({**own_fields(line), **named})]
    return [first, *exception_rows(line)]


def event_of(line: LogLine) -> str:
    """What happened, by an event."""
    return printable_row(" ".join(str((line.fields or {}).get("event", "")).splitlines()))


def own_fields(line: LogLine) -> dict[str, Any]:
    """The fields of an event that not every event has."""
    return {name: value for name, value in (line.fields or {}).items() if name not in PLACED_FIELDS}


def exception_rows(line: LogLine) -> list[Line]:
    """The rows of an exception's traceback."""
    fields = line.fields or {}
    text = "\n".join(str(fields[name]) for name in ("stack", "exception") if fields.get(name))
    return [[Piece(f"    {printable_row(row)}", "red")] for row in text.splitlines()]
