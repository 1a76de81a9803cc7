"""The log lines of all services: those that are there, and those that come, across rotations and restarts."""

import heapq
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain, groupby, islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from palaver.watch.log_files import Identity, LogFile, open_files

LEVELS = ("debug", "info", "warning", "error", "critical")
# A file may have been written to so long after its last event, by a clock that was set back
CLOCK_SLACK_NS = 5_000_000_000
# Services write their lines a little late, and not at the same moment: lines wait so long for earlier ones
HOLD_SECONDS = 0.4

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class LogLine(NamedTuple):
    """One line. `at`: nanoseconds since the epoch.

    `fields` is None for text that is no event of a service, such as a crash's traceback; its time is that of
    the event before it, or in its file the first, its `service` that of its file, or the instance.
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


class LogReader(AbstractContextManager["LogReader"]):
    """All log files of all services: `with LogReader(directory) as logs`. Raises `StartError`.

    All files of an instance are read on, not the newest alone: a process that was started before a rotation
    may still write to an older one.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files: dict[Identity, LogFile] = {}
        open_files(directory, "log", self._files)

    def __exit__(self, *_error: object) -> None:
        for file in self._files.values():
            file.close()

    @property
    def services(self) -> set[str]:
        """Services and instances that have a log."""
        return {name for file in self._files.values() for name in (file.service, file.instance)}

    def all_lines(self, wanted: LogFilter, *, goes_on: bool = False) -> Iterator[LogLine]:
        """The wanted lines that are there, by time. With `goes_on`, a line that has no end yet is left for
        `new_lines`."""
        streams = [
            chain.from_iterable(oldest_first(file, wanted, not goes_on) for file in reversed(files))
            for files in self._by_instance()
        ]
        return heapq.merge(*streams, key=lambda line: line.at)

    def last_lines(self, wanted: LogFilter, most: int, *, goes_on: bool = False) -> list[LogLine]:
        """The last `most` of them. Parses no more than is needed."""
        streams = [
            chain.from_iterable(newest_first(file, wanted, not goes_on) for file in files)
            for files in self._by_instance()
        ]
        lines = heapq.merge(*streams, key=lambda line: line.at, reverse=True)
        # At least one, so that each newest file is read: what comes is behind that
        found = list(islice(lines, max(most, 1)))[:most]
        for files in self._by_instance():
            for file in files[1:]:
                file.skip()
        return found[::-1]

    def new_lines(self, wanted: LogFilter) -> list[LogLine]:
        """The wanted lines that were written since the last call, by time. Raises `StartError`."""
        open_files(self._directory, "log", self._files)
        lines: list[LogLine] = []
        for identity, file in list(self._files.items()):
            is_deleted = file.is_deleted
            lines += oldest_first(file, wanted, is_deleted)
            if is_deleted:
                file.close()
                del self._files[identity]
        return sorted(lines, key=lambda line: line.at)

    def _by_instance(self) -> list[list[LogFile]]:
        """Each instance's files, newest first."""
        return [list(files) for _, files in groupby(self._files.values(), lambda file: file.instance)]


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


def oldest_first(file: LogFile, wanted: LogFilter, is_final: bool) -> list[LogLine]:
    """A file's new lines that are wanted."""
    return list(newest_first(file, wanted, is_final))[::-1]


def newest_first(file: LogFile, wanted: LogFilter, is_final: bool) -> Iterator[LogLine]:
    """A file's new lines that are wanted, from its end. Those of a file that is too old are passed over."""
    at = file.modified_at
    # Text whose time is not known yet: that of the event before it
    text: list[bytes] = []
    if at < wanted.since - CLOCK_SLACK_NS:
        file.skip()
    for raw in reversed(file.lines(wanted.needle, is_final=is_final)):
        line = parse_event(file.service, raw)
        if line is None:
            text.append(raw)
            continue
        at = line.at
        found = [*(LogLine(at, file.instance, None, one) for one in text), line]
        yield from filter(wanted.matches, found)
        text.clear()
    yield from filter(wanted.matches, (LogLine(at, file.instance, None, one) for one in text))


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
