"""The logs of all services: the lines that are there, and those that come, across rotations and restarts."""

import heapq
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Self

from palaver.watch.last import last_of, last_time
from palaver.watch.lines import CLOCK_SLACK_NS, LogLine, Wanted, event_line
from palaver.watch.log_files import KeptFile, kept_paths, open_kept, open_one, read_at

READ_BYTES = 1_048_576


@dataclass
class LogFile:
    """An open file, read up to `position`. `unfinished`: the beginning of a line that has no end yet; `at`:
    the time of the last event."""

    kept: KeptFile
    position: int = 0
    unfinished: bytes = b""
    at: int = 0

    def new_lines(self, needle: bytes = b"") -> Iterator[LogLine]:
        """What was written behind `position`. With `needle`, lines without it may be left out."""
        if os.fstat(self.kept.file.fileno()).st_size < self.position:
            # Somebody cut it
            self.position, self.unfinished = 0, b""
        while block := read_at(self.kept.file, self.position, READ_BYTES):
            self.position += len(block)
            whole, end, unfinished = (self.unfinished + block).rpartition(b"\n")
            self.unfinished = unfinished
            if end and needle in whole:
                yield from (self._line(raw) for raw in whole.split(b"\n") if raw and needle in raw)

    def rest(self) -> Iterator[LogLine]:
        """The line at the end that nobody will finish."""
        if self.unfinished:
            yield self._line(self.unfinished)
            self.unfinished = b""

    def is_deleted(self) -> bool:
        """Whether it has no name any more. Asked of the file: a rotation can hide a name for a moment."""
        return os.fstat(self.kept.file.fileno()).st_nlink == 0

    def skip_to_end(self) -> KeptFile:
        """The file up to its last whole line, behind which `new_lines` goes on."""
        start = max(0, self.kept.end - READ_BYTES)
        cut = read_at(self.kept.file, start, self.kept.end - start).rfind(b"\n")
        self.position = start + cut + 1 if cut >= 0 else self.kept.end
        return self.kept._replace(end=self.position)

    def _line(self, raw: bytes) -> LogLine:
        line = event_line(self.kept.service, raw)
        if line is None:
            return LogLine(self.at or time.time_ns(), self.kept.service, None, raw)
        self.at = line.at
        return line


class Logs:
    """All files of all services' logs: `with Logs(directory) as logs`. Raises `StartError`.

    All files of a service are read on, not the newest alone: a process that was started before a rotation may
    still write to an older one. They stay open, so that each is known by its inode whatever its name becomes.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files = {kept.identity: LogFile(kept) for kept in open_kept(directory, "log")}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        with ExitStack() as closing:
            for file in self._files.values():
                closing.callback(file.kept.file.close)

    @property
    def services(self) -> set[str]:
        """Those that have a log."""
        return {file.kept.service for file in self._files.values()}

    def all_lines(self, wanted: Wanted, *, goes_on: bool = False) -> Iterator[LogLine]:
        """The wanted lines that are there, by time. With `goes_on`, a line that has no end yet is left for
        `new_lines`."""
        streams = [oldest_first(files, wanted, goes_on) for files in self._by_service()]
        return filter(wanted.takes, heapq.merge(*streams, key=lambda line: line.at))

    def last_lines(self, wanted: Wanted, most: int, *, goes_on: bool = False) -> list[LogLine]:
        """The last `most` of the wanted lines, by time."""
        services = [
            [file.skip_to_end() if goes_on else file.kept for file in files] for files in self._by_service()
        ]
        return last_of(services, wanted, most)

    def new_lines(self) -> list[LogLine]:
        """What was written since the last call, by time. Raises `StartError`."""
        self._open_new()
        lines: list[LogLine] = []
        for identity, file in list(self._files.items()):
            is_deleted = file.is_deleted()
            lines += file.new_lines()
            if is_deleted:
                lines += file.rest()
                file.kept.file.close()
                del self._files[identity]
        return sorted(lines, key=lambda line: line.at)

    def _open_new(self) -> None:
        for service, path in kept_paths(self._directory, "log"):
            kept = open_one(service, path)
            if kept is None:
                continue
            if kept.identity in self._files:
                kept.file.close()
            else:
                self._files[kept.identity] = LogFile(kept)

    def _by_service(self) -> list[list[LogFile]]:
        """Each service's files, newest first."""
        return [list(files) for _name, files in groupby(self._files.values(), lambda file: file.kept.service)]


def oldest_first(files: Sequence[LogFile], wanted: Wanted, goes_on: bool) -> Iterator[LogLine]:
    """One service's lines, from its oldest file to its newest, given newest first; not those of files that
    are too old."""
    at = 0
    for file in reversed(files):
        # Text at the beginning of a file comes after the events of the file before
        file.at = at
        last = last_time(file.kept) if wanted.since else 0
        if last < wanted.since - CLOCK_SLACK_NS:
            file.position, at = file.kept.end, last
            continue
        yield from file.new_lines(wanted.needle)
        if not goes_on:
            yield from file.rest()
        at = file.at
