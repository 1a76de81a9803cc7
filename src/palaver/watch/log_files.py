"""Files that services append lines to, and rotate: `gateway.log`, and before it `gateway.log.1`, `.2` …

The part before the dot names an instance of a service: `gateway`, `gateway-2`.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from palaver.runtime.startup import StartError

READ_BYTES = 1_048_576
# Device and inode: they stay when a file is renamed
Identity = tuple[int, int]


class LogFile:
    """An open file, read forwards from `position`. It stays open, so that it is known by its inode whatever
    its name becomes.

    `at`: the time of the last event read, in nanoseconds; `is_cut`: reading did not begin at its beginning.
    """

    def __init__(self, instance: str, file: BinaryIO) -> None:
        stat = os.fstat(file.fileno())
        self.instance = instance
        self.service = instance.partition("-")[0]
        self.identity = (stat.st_dev, stat.st_ino)
        self.position = 0
        self.at = 0
        self.is_cut = False
        self._file = file
        self._unfinished = b""

    @property
    def modified_at(self) -> int:
        """When it was last written to, in nanoseconds since the epoch."""
        return os.fstat(self._file.fileno()).st_mtime_ns

    @property
    def is_deleted(self) -> bool:
        """Whether it has no name any more. By the file itself: a rotation can hide a name for a moment."""
        return os.fstat(self._file.fileno()).st_nlink == 0

    def lines(self, needle: bytes = b"") -> Iterator[bytes]:
        """Whole lines behind `position` that are not empty, without line ends; with `needle` those that
        contain it: what is far from any is not even split into lines."""
        if os.fstat(self._file.fileno()).st_size < self.position:
            # Somebody truncated it
            self.position, self._unfinished = 0, b""
        while block := os.pread(self._file.fileno(), READ_BYTES, self.position):
            self.position += len(block)
            whole, end, self._unfinished = (self._unfinished + block).rpartition(b"\n")
            if end and needle in whole:
                yield from (line for line in whole.split(b"\n") if line and needle in line)

    def last_line(self, needle: bytes = b"") -> Iterator[bytes]:
        """The line at the end that has no line end, and gets none any more."""
        line, self._unfinished = self._unfinished, b""
        if line and needle in line:
            yield line

    def rewind(self, size: int) -> int:
        """Goes back to the first line that begins in the last `size` bytes; returns how many these are."""
        end = os.fstat(self._file.fileno()).st_size
        start = max(0, end - max(0, size))
        self.position, self.at, self.is_cut, self._unfinished = start, 0, start > 0, b""
        while self.is_cut and (block := os.pread(self._file.fileno(), READ_BYTES, self.position - 1)):
            found = block.find(b"\n")
            if found >= 0:
                self.position += found
                break
            self.position = min(end, self.position + len(block))
            if self.position == end:
                break
        return end - start

    def close(self) -> None:
        """Closes it."""
        self._file.close()


def list_files(directory: Path, ending: str) -> list[tuple[str, Path]]:
    """Instances and their files that end with `.ENDING` or `.ENDING.N`, newest first. Empty: no directory.

    Raises `StartError`.
    """
    pattern = re.compile(rf"(.+?)\.{re.escape(ending)}(?:\.(\d+))?")
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StartError(f"cannot read {directory}: {error.strerror}") from None
    found = [match for name in names if (match := pattern.fullmatch(name))]
    found.sort(key=lambda match: (match[1], int(match[2] or 0)))
    return [(match[1], directory / match[0]) for match in found]


def open_files(directory: Path, ending: str, opened: dict[Identity, LogFile]) -> None:
    """Adds all such files that are not among `opened`, each instance's newest first. Raises `StartError`.

    They are opened in that order because of a rotation meanwhile: it can show a file under a second name,
    which is left out here, but hide none.
    """
    for instance, path in list_files(directory, ending):
        try:
            # Unbuffered: it is read in large pieces, and grows meanwhile
            file = LogFile(instance, path.open("rb", buffering=0))
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StartError(f"cannot read {path}: {error.strerror}") from None
        if opened.setdefault(file.identity, file) is not file:
            file.close()
