"""A disk of a few MiB for one process and its children: a tmpfs that only they see."""

import errno
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PIECE = 4_096


def mounting(directory: Path, size: str) -> Sequence[str]:
    """A command that mounts a disk on the directory and becomes the command behind it. Needs root."""
    script = 'mkdir -p "$0" && mount -t tmpfs -o size="$1" small "$0" && shift && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", script, str(directory), size]


@dataclass
class SmallDisk:
    """The disk of a running process, seen from outside."""

    pid: int
    directory: Path

    @property
    def root(self) -> Path:
        """Where the disk is for everybody else."""
        return Path(f"/proc/{self.pid}/root{self.directory}")

    @property
    def filler(self) -> Path:
        """What takes the space."""
        return self.root / "filler"

    @property
    def free(self) -> int:
        """Bytes that are left."""
        return shutil.disk_usage(self.root).free

    def fill(self, leave: int = 0) -> None:
        """Leaves so many bytes at most."""
        with self.filler.open("ab", buffering=0) as file:
            try:
                while self.free > leave:
                    file.write(b"x" * min(1 << 20, max(PIECE, self.free - leave)))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def empty(self) -> None:
        """Gives the space back."""
        self.filler.unlink()

    def sizes(self, *directories: str) -> dict[str, int]:
        """The sizes of all files in these directories."""
        files = [path for name in directories for path in (self.root / name).iterdir()]
        return {path.name: path.stat().st_size for path in files}
