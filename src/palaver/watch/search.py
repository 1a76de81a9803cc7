"""Finding all that is kept of a trace, also of one that has just happened."""

import time
from pathlib import Path
from typing import NamedTuple

from palaver.watch.lines import LogLine, Wanted
from palaver.watch.log_reader import Logs
from palaver.watch.trace_reader import KeptTrace, read_trace

# Services write what they keep a quarter of a second late
SETTLED_SECONDS = 0.6
PATIENCE_SECONDS = 1.0
PAUSE_SECONDS = 0.1


class Found(NamedTuple):
    """What is kept of a trace."""

    trace: KeptTrace
    lines: list[LogLine]

    @property
    def newest(self) -> int:
        """The end of its last span, or the time of its last line; 0 where there is none."""
        ends = [span.end for span in (*self.trace.spans, *self.trace.linked)]
        return max([*ends, *(line.at for line in self.lines)], default=0)


def search(data_dir: Path, trace_id: str) -> Found:
    """Spans and lines of a trace. Waits a little where nothing is found, or where more may come any moment.

    Raises `StartError`.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = search_once(data_dir, trace_id)
        is_settled = found.newest and time.time_ns() - found.newest > SETTLED_SECONDS * 1e9
        if is_settled or time.monotonic() > deadline:
            return found
        time.sleep(PAUSE_SECONDS)


def search_once(data_dir: Path, trace_id: str) -> Found:
    """What is there now. Raises `StartError`."""
    with Logs(data_dir / "logs") as logs:
        lines = list(logs.all_lines(Wanted(trace_id=trace_id)))
    return Found(read_trace(data_dir, trace_id), lines)
