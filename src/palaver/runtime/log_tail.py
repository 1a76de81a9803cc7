"""The end of a log file that another process writes and rotates."""

import os
from dataclasses import dataclass
from pathlib import Path

TAIL_BYTES = 16_384


@dataclass(frozen=True, slots=True)
class LogTail:
    """What was written to `path` since it had `start` bytes and the number `inode`."""

    path: Path
    start: int
    inode: int

    def read(self, lines: int = 15) -> str:
        """The last lines: where a new file was begun since then, also those of the one before."""
        tail = b""
        for path in (self.path, self.path.with_name(f"{self.path.name}.1")):
            found, is_first = self._end_of(path)
            tail = found + tail
            if is_first or tail.count(b"\n") >= lines:
                break
        return "\n".join(tail.decode(errors="replace").splitlines()[-lines:])

    def _end_of(self, path: Path) -> tuple[bytes, bool]:
        """The end of a file, no further back than the start; and whether the start lies in this file."""
        try:
            with path.open("rb") as log:
                is_first = os.fstat(log.fileno()).st_ino == self.inode
                end = log.seek(0, os.SEEK_END)
                # A log that was cut meanwhile is shorter than it was
                start = self.start if is_first and self.start <= end else 0
                log.seek(max(start, end - TAIL_BYTES))
                return log.read(), is_first
        except FileNotFoundError:
            return b"", True
