"""Log lines: one event each, as JSON, or as coloured text on a terminal."""

import logging
import os
import time
from collections.abc import Callable, Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog
from structlog.contextvars import get_contextvars

from palaver.runtime.telemetry.error_texts import error_text, format_exc_info
from palaver.runtime.telemetry.masking import mask
from palaver.runtime.telemetry.spool import DROPPED, Spool
from palaver.runtime.telemetry.tracing import current_span

Fields = MutableMapping[str, Any]


def shown(value: Any) -> str:
    """What JSON does not know. An error shows its kind alone: its text may be a client's."""
    return error_text(value) if isinstance(value, BaseException) else repr(value)


_encode = msgspec.json.Encoder(enc_hook=shown).encode


class LogWriter:
    """Renders log lines, and writes each at once: none is lost where the process dies.

    `names`: fields of each line that name the process. `write` takes a whole line, and may raise `OSError`.
    `spool` gets each as JSON, for a collector. `show` makes text for a terminal, in JSON's place.
    """

    def __init__(
        self,
        names: Mapping[str, str],
        write: Callable[[bytes], None],
        spool: Spool | None = None,
        show: Callable[[Fields], str] | None = None,
    ) -> None:
        self._names = names
        self._write = write
        self._spool = spool
        self._show = show
        self._dropped = 0

    def render(self, _logger: Any, method: str, given: Fields) -> bytes:
        """structlog's processor: from an event to its line."""
        if "exc_info" in given:
            exc_info = given.pop("exc_info")
            if exc_info:
                given["exception"] = format_exc_info(exc_info)
        fields = complete(self._names, method, given)
        line = b""
        if self._show is None or self._spool is not None:
            line = mask(encode(fields))
        if self._spool is not None:
            self._spool.put(line)
        if self._show is not None:
            line = mask(self._show(fields).encode(errors="backslashreplace"))
        return line + b"\n"

    def put(self, line: bytes) -> None:
        """Writes a line."""
        try:
            if self._dropped:
                self._write_gap()
            self._write(line)
        except OSError:
            # The disk is full, or nobody reads any more: the service goes on
            self._dropped += 1
            DROPPED.labels("logs").inc()

    def _write_gap(self) -> None:
        """Writes how many lines are missing here. Raises `OSError`."""
        given: Fields = {"event": "lines_missing", "dropped": self._dropped}
        self._write(self.render(None, "warning", given))
        self._dropped = 0

    # structlog calls the method that is named like the level
    debug = info = warning = error = critical = put


class StandardHandler(logging.Handler):
    """Writes what libraries log by the standard library."""

    def __init__(self, lines: LogWriter) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one record."""
        try:
            if isinstance(record.args, tuple):
                record.args = tuple(error_text(a) if isinstance(a, BaseException) else a for a in record.args)
            given: Fields = {"event": record.getMessage(), "logger": record.name}
            if record.exc_info:
                given["exc_info"] = record.exc_info
            self._lines.put(self._lines.render(None, record.levelname.lower(), given))
        except Exception:
            # Python's own way prints the record with all its arguments
            DROPPED.labels("logs").inc()


def complete(names: Mapping[str, str], level: str, given: Fields) -> Fields:
    """An event's fields in their order: those of every line, what is bound to the task, and its own."""
    span = current_span()
    always = {
        "time": datetime.now(UTC).isoformat(timespec="microseconds")[:-6] + "Z",
        "level": level,
        **names,
        "event": given.get("event", ""),
        "trace_id": "" if span is None else span.trace_id,
        "span_id": "" if span is None else span.span_id,
    }
    # Twice: first for their order, then so that nothing else takes their names
    return {**always, **get_contextvars(), **given, **always}


def encode(fields: Fields) -> bytes:
    """The fields as JSON, whatever they hold."""
    try:
        return _encode(fields)
    except Exception:
        # Half of a surrogate pair, a repr() that fails: better a line that is hard to read than none
        return _encode({ascii(key).strip("'"): encodable(value) for key, value in fields.items()})


def encodable(value: Any) -> str:
    """Any value as text that can be encoded."""
    try:
        return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else ascii(value)
    except Exception:
        return f"<{type(value).__name__}>"


def terminal_text() -> Callable[[Fields], str]:
    """Renders lines for people: local time, colours, and no ids that are empty."""
    renderer = structlog.dev.ConsoleRenderer(
        colors="NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb",
        sort_keys=False,
        timestamp_key="time",
        exception_formatter=structlog.dev.plain_traceback,
    )

    def show(fields: Fields) -> str:
        kept = {
            name: value
            for name, value in fields.items()
            if value != "" and name not in ("service", "span_id")
        }
        kept["time"] = time.strftime("%H:%M:%S")
        kept["event"] = f"{fields['service']}: {fields['event']}"
        return renderer(None, "", kept)

    return show
