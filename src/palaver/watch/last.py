"""The last lines of logs, read back from their ends no further than is needed."""

import heapq
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from palaver.watch.lines import CLOCK_SLACK_NS, LogLine, Wanted, event_line
from palaver.watch.log_files import KeptFile, lines_backwards


def last_of(services: Iterable[Sequence[KeptFile]], wanted: Wanted, most: int) -> list[LogLine]:
    """The last `most` lines that are wanted, by time. Of each service the files come newest first."""
    merged = heapq.merge(
        *(newest_first(files, wanted) for files in services), key=lambda line: line.at, reverse=True
    )
    found = list(islice(merged, most))
    found.reverse()
    return sorted(found, key=lambda line: line.at)


def newest_first(files: Sequence[KeptFile], wanted: Wanted) -> Iterator[LogLine]:
    """One service's wanted lines, from its newest file to its oldest."""
    for line in all_newest_first(files, wanted):
        if line.at < wanted.since - CLOCK_SLACK_NS:
            return
        if wanted.takes(line):
            yield line


def all_newest_first(files: Sequence[KeptFile], wanted: Wanted) -> Iterator[LogLine]:
    """Lines that may be wanted. Text that is no event waits for the event before it, whose time it gets."""
    # Where it is asked how old lines are, each is looked at; or else only those with the right words
    words = () if wanted.since else wanted.words
    waiting: list[bytes] = []
    at = 0
    for kept in files:
        at = at or os.fstat(kept.file.fileno()).st_mtime_ns
        for raw in lines_backwards(kept, wanted.needle):
            if not waiting and words and raw.startswith(b"{") and not any(word in raw for word in words):
                continue
            line = event_line(kept.service, raw)
            if line is None:
                waiting.append(raw)
                continue
            at = line.at
            yield from texts(at, kept.service, waiting)
            waiting.clear()
            yield line
    if waiting:
        yield from texts(at, files[0].service, waiting)


def texts(at: int, service: str, raws: Iterable[bytes]) -> list[LogLine]:
    """Lines that are no events."""
    return [LogLine(at, service, None, raw) for raw in raws]


def last_time(kept: KeptFile) -> int:
    """The time of the last event in a file; 0 where there is none."""
    events = (event_line(kept.service, raw) for raw in lines_backwards(kept))
    return next((line.at for line in events if line is not None), 0)
