"""Lines of the services' logs: reading them, and choosing among them."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec

LEVELS = ("debug", "info", "warning", "error", "critical")
# Lines of one service come in the order of their times, but for a clock that was set back
CLOCK_SLACK_NS = 5_000_000_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class LogLine(NamedTuple):
    """One line. `at`: nanoseconds since the epoch.

    `fields` is None for text that is no event of a service, such as a crash's traceback; its time is that of
    the line before it.
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


def text_of(fields: dict[str, Any] | None, name: str) -> str:
    """A field that is a text; empty where there is none."""
    found = fields.get(name) if fields else None
    return found if isinstance(found, str) else ""


@dataclass(frozen=True)
class Wanted:
    """Which lines are asked for. Empty and 0: any. Ids in lower case; `since`: as `LogLine.at`."""

    user_id: str = ""
    chat_id: str = ""
    trace_id: str = ""
    service: str = ""
    level: str = ""
    since: int = 0

    @property
    def needle(self) -> bytes:
        """What every wanted line has in it, if there is such a thing."""
        return (self.trace_id or self.user_id or self.chat_id).encode()

    @property
    def words(self) -> tuple[bytes, ...]:
        """One of these is in every wanted event, unless there are none. Of the level only what is rare: the
        other levels are in nearly every line."""
        if self.level not in LEVELS[2:]:
            return ()
        return tuple(f'"{level}"'.encode() for level in LEVELS[LEVELS.index(self.level) :])

    def takes(self, line: LogLine) -> bool:
        """Whether a line is one of them. Text that is no event is about nobody and of any level; an event
        that was cut is of none."""
        if line.at < self.since or (self.service and line.service != self.service):
            return False
        if line.fields is None:
            return not self.needle and not (self.level and line.raw.startswith(b"{"))
        asked = (("user_id", self.user_id), ("chat_id", self.chat_id), ("trace_id", self.trace_id))
        return is_level(line.level, self.level) and all(
            text_of(line.fields, name).lower() == value for name, value in asked if value
        )


def is_level(level: str, least: str) -> bool:
    """Whether a level is at least that one. Levels that nobody knows are."""
    return not least or level not in LEVELS or LEVELS.index(level) >= LEVELS.index(least)


def read_fields(raw: bytes) -> tuple[int, dict[str, Any]] | None:
    """An event's time, in nanoseconds, and its fields; None for other text."""
    if not raw.startswith(b"{"):
        return None
    try:
        fields = msgspec.json.decode(raw)
        return time_ns(fields["time"]), fields
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, LookupError, ValueError, TypeError):
        return None


def time_ns(text: str) -> int:
    """Nanoseconds since the epoch of an ISO 8601 time; UTC where it names no zone. Raises `ValueError`."""
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    return (time - _EPOCH) // _MICROSECOND * 1000


def event_line(service: str, raw: bytes) -> LogLine | None:
    """The event that a line is; None for other text."""
    found = read_fields(raw)
    if found is None:
        return None
    at, fields = found
    return LogLine(at, text_of(fields, "service") or service, fields, raw)
