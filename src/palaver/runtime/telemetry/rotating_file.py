"""Files that are appended to, and that a new one follows when they have grown: `NAME`, older `NAME.1` …"""

import contextlib
import errno
import itertools
import os
import threading
from pathlib import Path

from palaver.runtime.telemetry.free_space import FreeSpace

# Where a process's own words go that are no lines of a log, such as the traceback of a crash
_OUTPUTS = (1, 2)


class RotatingFile:
    """A file of lines, readable by its owner alone, in a directory that is made so too.

    Nothing is buffered: what was written survives the process. Any thread may write. Standard output and
    error go along to the next file where they lead into this one, as they do for children of `palaver up`.
    Raises `OSError` where it can't be opened.
    """

    def __init__(self, path: Path, file_bytes: int, files: int, free_space: FreeSpace) -> None:
        self._path = path
        self._file_bytes = file_bytes
        self._files = files
        self._free_space = free_space
        # Reentrant: the garbage collector may make asyncio write a line in the middle of writing one
        self._lock = threading.RLock()
        self._is_torn = False
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._fd, self._size = self._open()
        self._forget_old()

    def write(self, lines: bytes) -> None:
        """Appends whole lines. Raises `OSError`, e.g. where the disk is nearly full; some may be written."""
        if not self._free_space.has_room():
            raise OSError(errno.ENOSPC, "what is left of the disk is for data")
        with self._lock:
            if self._size >= self._file_bytes:
                # Where no new file can be made the old one goes on: better too large than without lines
                with contextlib.suppress(OSError):
                    self._follow()
            if self._is_torn:
                lines = b"\n" + lines
            try:
                write_all(self._fd, lines)
            except OSError:
                self._is_torn = True
                raise
            self._is_torn = False
            self._size += len(lines)

    def close(self) -> None:
        """Closes the file; writing fails from now on."""
        with self._lock:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> tuple[int, int]:
        fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        size = os.fstat(fd).st_size
        # A process that was killed may have left half a line
        self._is_torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
        return fd, size

    def _follow(self) -> None:
        """Goes on in a new file."""
        # At once: a line that is written in the middle of this must not do the same
        self._size = 0
        if self._is_newest():
            self._rename()
        old = self._fd
        self._fd, self._size = self._open()
        for output in _OUTPUTS:
            if is_same_file(output, old):
                os.dup2(self._fd, output)
        os.close(old)

    def _is_newest(self) -> bool:
        """False: a second process of the same service has rotated already, or somebody took the file away."""
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(self._fd))
        except FileNotFoundError:
            return False

    def _rename(self) -> None:
        if self._files == 1:
            self._path.unlink()
        for number in range(self._files - 1, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                self._name(number - 1).replace(self._name(number))

    def _name(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}") if number else self._path

    def _forget_old(self) -> None:
        """Removes what a setting that was larger once has left."""
        for number in itertools.count(self._files):
            try:
                self._name(number).unlink()
            except OSError:
                return


def write_all(fd: int, data: bytes) -> None:
    """Writes all of it. Raises `OSError`."""
    written = os.write(fd, data)
    while written < len(data):
        # A pipe takes less where a signal comes, and so does a disk that gets full
        written += os.write(fd, data[written:])


def is_same_file(one: int, other: int) -> bool:
    """Whether two file descriptors lead to one file; a closed one leads nowhere."""
    try:
        return os.path.samestat(os.fstat(one), os.fstat(other))
    except OSError:
        return False
