"""Files that services append lines to, and rotate: `gateway.log`, and before it `gateway.log.1`, `.2` …

The part before the dot names an instance of a service: `gateway`, `gateway-2`.
"""

import os
import re
from pathlib import Path

from palaver.runtime.startup import StartError

# Device and inode: they stay when a file is renamed
Identity = tuple[int, int]


class LogFile:
    """An open file, read on from where reading ended. It is known by its inode whatever its name becomes."""

    def __init__(self, instance: str, path: Path) -> None:
        # Unbuffered: it is read as a whole, and grows meanwhile
        self._file = path.open("rb", buffering=0)
        stat = os.fstat(self._file.fileno())
        self.instance = instance
        self.service = instance.partition("-")[0]
        self.identity: Identity = (stat.st_dev, stat.st_ino)

    @property
    def modified_at(self) -> int:
        """When it was last written to, in nanoseconds since the epoch."""
        return os.fstat(self._file.fileno()).st_mtime_ns

    @property
    def is_deleted(self) -> bool:
        """Whether it has no name any more. By the file itself: a rotation can hide a name for a moment."""
        return os.fstat(self._file.fileno()).st_nlink == 0

    def lines(self, needle: bytes = b"", *, is_final: bool = False) -> list[bytes]:
        """Lines not read yet that are not empty, without line ends; with `needle` those that contain it.

        The last one may be under way: without a line end it is left for the next call, unless `is_final`.
        """
        if os.fstat(self._file.fileno()).st_size < self._file.tell():
            # Somebody truncated it
            self._file.seek(0)
        text = self._file.read()
        if not is_final:
            whole = text.rfind(b"\n") + 1
            self._file.seek(whole - len(text), os.SEEK_CUR)
            text = text[:whole]
        # Most files do not contain an id: these are not even split into lines
        return [line for line in text.split(b"\n") if line and needle in line] if needle in text else []

    def skip(self) -> None:
        """Passes over what is there, where nothing of it was read."""
        if not self._file.tell():
            self._file.seek(0, os.SEEK_END)

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
            file = LogFile(instance, path)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StartError(f"cannot read {path}: {error.strerror}") from None
        if opened.setdefault(file.identity, file) is not file:
            file.close()
