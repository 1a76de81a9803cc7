"""The log lines of all services: those that are there, and those that come, across rotations and restarts."""

import heapq
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain, groupby
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec

from palaver.watch.log_files import Identity, LogFile, open_files

LEVELS = ("debug", "info", "warning", "error", "critical")
# A file may have been written to so long after its last event, by a clock that was set back
CLOCK_SLACK_NS = 5_000_000_000
# How far back of each instance the last lines are looked for at first
TAIL_BYTES = 262_144
# Services write their lines a little late, and not at the same moment: lines wait so long for earlier ones
HOLD_SECONDS = 0.4

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class LogLine(NamedTuple):
    """One line. `at`: nanoseconds since the epoch.

    `fields` is None for text that is no event of a service, such as a crash's traceback; its time is that of
    the line before it, its `service` that of its file, or the instance.
    """

    at: int
    service: str
    fields: dict[str, Any] | None
    raw: bytes

    @property
    def level(self) -> str:
        """Empty where it has none."""
        return text_of(self.fields, "level")

    @property
    def span_id(self) -> str:
        """The span under way when it was written; empty where there was none."""
        return text_of(self.fields, "span_id")


@dataclass(frozen=True)
class LogFilter:
    """Which lines are wanted. Empty and 0: any. Ids in lower case; `since`: as `LogLine.at`."""

    user_id: str = ""
    chat_id: str = ""
    trace_id: str = ""
    service: str = ""
    level: str = ""
    since: int = 0

    @property
    def needle(self) -> bytes:
        """What every wanted line contains, if there is such a thing."""
        return (self.trace_id or self.user_id or self.chat_id).encode()

    @property
    def words(self) -> tuple[bytes, ...]:
        """One of these is in every wanted event, unless there are none. Only for levels that are rare: the
        others are in nearly every line."""
        rare = LEVELS[LEVELS.index(self.level) :] if self.level in LEVELS[2:] else ()
        return tuple(f'"{level}"'.encode() for level in rare)

    def matches(self, line: LogLine) -> bool:
        """Whether a line is wanted. Text that is no event is about nobody and of any level; an event that was
        cut is of none. A service is named by its name or by its instance's."""
        names = (line.service, text_of(line.fields, "instance"), line.service.partition("-")[0])
        if line.at < self.since or (self.service and self.service not in names):
            return False
        if line.fields is None:
            return not self.needle and not (self.level and line.raw.startswith(b"{"))
        ids = (("user_id", self.user_id), ("chat_id", self.chat_id), ("trace_id", self.trace_id))
        return is_level(line.level, self.level) and all(
            text_of(line.fields, name).lower() == value for name, value in ids if value
        )


class LogReader:
    """All log files of all services: `with LogReader(directory) as logs`. Raises `StartError`.

    All files of an instance are read on, not the newest alone: a process that was started before a rotation
    may still write to an older one.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files: dict[Identity, LogFile] = {}
        open_files(directory, "log", self._files)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        with ExitStack() as closing:
            for file in self._files.values():
                closing.callback(file.close)

    @property
    def services(self) -> set[str]:
        """Services and instances that have a log."""
        return {name for file in self._files.values() for name in (file.service, file.instance)}

    def all_lines(self, wanted: LogFilter, *, goes_on: bool = False) -> Iterator[LogLine]:
        """The wanted lines that are there, by time. With `goes_on`, a line that has no end yet is left for
        `new_lines`."""
        for file in self._files.values():
            file.rewind(sys.maxsize)
        streams = [oldest_first(files, wanted, goes_on) for files in self._by_instance()]
        return heapq.merge(*streams, key=lambda line: line.at)

    def last_lines(self, wanted: LogFilter, most: int, *, goes_on: bool = False) -> list[LogLine]:
        """The last `most` of the wanted lines, by time, read from no further back than is needed."""
        size = TAIL_BYTES
        while True:
            streams: list[list[LogLine]] = []
            is_enough = True
            for files in self._by_instance():
                left = size
                for file in files:
                    left -= file.rewind(left)
                streams.append(list(oldest_first(files, wanted, goes_on)))
                is_enough &= left > 0 or len(streams[-1]) >= most
            if is_enough:
                lines = list(heapq.merge(*streams, key=lambda line: line.at))
                return lines[max(0, len(lines) - most) :]
            size *= 8

    def new_lines(self) -> list[LogLine]:
        """What was written since the last call, by time. Raises `StartError`."""
        open_files(self._directory, "log", self._files)
        lines: list[LogLine] = []
        for identity, file in list(self._files.items()):
            is_deleted = file.is_deleted
            lines += parse_lines(file, file.lines())
            if is_deleted:
                lines += parse_lines(file, file.last_line())
                file.close()
                del self._files[identity]
        return sorted(lines, key=lambda line: line.at)

    def _by_instance(self) -> list[list[LogFile]]:
        """Each instance's files, newest first."""
        return [list(files) for _name, files in groupby(self._files.values(), lambda file: file.instance)]


class ReorderBuffer:
    """Lines that wait for earlier ones of other services. No clock of its own: `now` in seconds."""

    def __init__(self) -> None:
        self._lines: list[tuple[LogLine, float]] = []

    def add(self, lines: list[LogLine], now: float) -> None:
        """Lines came."""
        self._lines += [(line, now) for line in lines]
        self._lines.sort(key=lambda one: one[0].at)

    def take(self, now: float) -> list[LogLine]:
        """Lines in the order of time, up to the last that has waited long enough."""
        waited = (number for number, (_, came) in enumerate(self._lines, 1) if now - came >= HOLD_SECONDS)
        end = max(waited, default=0)
        ready = [line for line, _ in self._lines[:end]]
        del self._lines[:end]
        return ready


def oldest_first(files: Sequence[LogFile], wanted: LogFilter, goes_on: bool) -> Iterator[LogLine]:
    """One instance's wanted lines, from its oldest file to its newest, given newest first; not those of files
    that are too old."""
    at, is_cut = 0, False
    for file in reversed(files):
        # Text at the beginning of a file comes after the events of the file before
        file.at = at
        file.is_cut = is_cut = file.is_cut or is_cut
        if file.modified_at < wanted.since - CLOCK_SLACK_NS:
            file.rewind(0)
            at = file.modified_at
            continue
        raws = file.lines(wanted.needle)
        if not goes_on:
            raws = chain(raws, file.last_line(wanted.needle))
        yield from filter(wanted.matches, parse_lines(file, raws, wanted.words))
        at = file.at


def parse_lines(file: LogFile, raws: Iterator[bytes], words: Sequence[bytes] = ()) -> Iterator[LogLine]:
    """A file's lines; events without any of the words may be left out. Text whose time is not known, because
    reading began in the middle, is left out."""
    skipped = b""
    for raw in raws:
        if words and raw.startswith(b"{") and not any(word in raw for word in words):
            # To parse it takes most of the time
            skipped = raw
            continue
        line = parse_event(file.service, raw)
        if line is not None:
            file.at = line.at
            yield line
        else:
            file.at = time_of(skipped) or file.at
            if file.at or not file.is_cut:
                yield LogLine(file.at or file.modified_at, file.instance, None, raw)
        skipped = b""
    file.at = time_of(skipped) or file.at


def time_of(raw: bytes) -> int:
    """An event's time; 0 for other text."""
    line = parse_event("", raw)
    return 0 if line is None else line.at


def parse_event(service: str, raw: bytes) -> LogLine | None:
    """The event that a line is; None for other text."""
    if not raw.startswith(b"{"):
        return None
    try:
        fields = msgspec.json.decode(raw)
        return LogLine(parse_time(fields["time"]), text_of(fields, "service") or service, fields, raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, LookupError, ValueError, TypeError):
        return None


def parse_time(text: str) -> int:
    """Nanoseconds since the epoch of an ISO 8601 time; UTC where it names no zone. Raises `ValueError`."""
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    return (time - _EPOCH) // _MICROSECOND * 1000


def text_of(fields: dict[str, Any] | None, name: str) -> str:
    """A field that is a text; empty where there is none."""
    found = fields.get(name) if fields else None
    return found if isinstance(found, str) else ""


def is_level(level: str, least: str) -> bool:
    """Whether a level is at least that one. Levels that nobody knows are."""
    return not least or level not in LEVELS or LEVELS.index(level) >= LEVELS.index(least)
