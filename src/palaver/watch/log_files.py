"""Files that services append lines to, and rotate: `gateway.log`, and before it `gateway.log.1`, `.2` …"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from palaver.runtime.startup import StartError

CHUNK_BYTES = 262_144


class KeptFile(NamedTuple):
    """One open file. `end`: what comes behind it was written after the file was opened."""

    service: str
    file: BinaryIO
    end: int

    @property
    def identity(self) -> tuple[int, int]:
        """What stays of a file when it gets another name, as long as it is open."""
        return identity_of(os.fstat(self.file.fileno()))


def identity_of(stat: os.stat_result) -> tuple[int, int]:
    """Device and inode."""
    return stat.st_dev, stat.st_ino


def kept_paths(directory: Path, ending: str) -> list[tuple[str, Path]]:
    """Services and their files that end with `.ENDING` or `.ENDING.N`, newest first. Empty: no directory.

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


def open_kept(directory: Path, ending: str) -> list[KeptFile]:
    """All such files, open for reading, each service's newest first. Raises `StartError`.

    They are opened in that order because of a rotation meanwhile: it can show a file under a second name,
    which is left out here, but hide none.
    """
    opened: dict[tuple[int, int], KeptFile] = {}
    for service, path in kept_paths(directory, ending):
        kept = open_one(service, path)
        if kept is None:
            continue
        if kept.identity in opened:
            kept.file.close()
        else:
            opened[kept.identity] = kept
    return list(opened.values())


def open_one(service: str, path: Path) -> KeptFile | None:
    """The file, open for reading; None: it is gone. Raises `StartError`."""
    try:
        # Unbuffered: it is read in large pieces, and grows meanwhile
        file = path.open("rb", buffering=0)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StartError(f"cannot read {path}: {error.strerror}") from None
    return KeptFile(service, file, os.fstat(file.fileno()).st_size)


def close_all(files: list[KeptFile]) -> None:
    """Closes them."""
    for kept in files:
        kept.file.close()


def lines_backwards(kept: KeptFile, needle: bytes = b"") -> Iterator[bytes]:
    """The lines of a file up to its `end`, last first, without line ends and empty lines.

    With `needle`, lines without it may be left out: what is far from any is not even split into lines.
    """
    position, first = kept.end, b""
    while position > 0:
        start = max(0, position - CHUNK_BYTES)
        block = read_at(kept.file, start, position - start) + first
        position = start
        # The first line may have begun before this block
        cut = block.find(b"\n") + 1 if start else 0
        if start and not cut:
            first = block
            continue
        first = block[:cut]
        if needle and block.find(needle, cut) < 0:
            continue
        yield from (line for line in reversed(block[cut:].split(b"\n")) if line)


def read_at(file: BinaryIO, start: int, size: int) -> bytes:
    """So many bytes from there; fewer where the file was cut meanwhile."""
    return os.pread(file.fileno(), size, start)
