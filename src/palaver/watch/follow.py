"""Going on with lines as services write them."""

import select
import sys
import time
from collections.abc import Callable

from palaver.watch.lines import LogLine
from palaver.watch.log_reader import Logs

PAUSE_SECONDS = 0.1
# Services write their lines a little late, and not at the same moment: lines wait so long for earlier ones
HOLD_SECONDS = 0.4


def follow(logs: Logs, write: Callable[[LogLine], None], flush: Callable[[], None]) -> None:
    """Writes new lines, by time, until nobody reads stdout any more. Raises what `write` raises, and
    `StartError`."""
    held = Held()
    while not reader_is_gone(PAUSE_SECONDS):
        now = time.monotonic()
        held.add(logs.new_lines(), now)
        ready = held.ready(now)
        for line in ready:
            write(line)
        if ready:
            flush()


class Held:
    """Lines that wait for earlier ones of other services. No clock of its own: `now` in seconds."""

    def __init__(self) -> None:
        self._lines: list[tuple[LogLine, float]] = []

    def add(self, lines: list[LogLine], now: float) -> None:
        """Lines came."""
        self._lines += [(line, now) for line in lines]
        self._lines.sort(key=lambda one: one[0].at)

    def ready(self, now: float) -> list[LogLine]:
        """Lines in the order of time, up to the last that has waited long enough."""
        waited = (number for number, (_, came) in enumerate(self._lines, 1) if now - came >= HOLD_SECONDS)
        end = max(waited, default=0)
        ready = [line for line, _ in self._lines[:end]]
        del self._lines[:end]
        return ready


def reader_is_gone(seconds: float) -> bool:
    """Waits, but no longer than until the other end of stdout is closed; whether it is."""
    poll = select.poll()
    # Nothing is asked: errors and hang-ups are always told
    poll.register(sys.stdout.fileno(), 0)
    return bool(poll.poll(seconds * 1000))
