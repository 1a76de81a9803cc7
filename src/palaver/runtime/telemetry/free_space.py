"""Whether a disk has room for what is worth less than data."""

import os
import time
from collections.abc import Callable
from pathlib import Path

LOOK_SECONDS = 1.0
# Of a small disk the floor is a share: there would be no logs on it at all
SHARE = 10


class FreeSpace:
    """Looks at a directory's disk once a second at most, when it is asked.

    `least`: bytes that are left to others, or a tenth of the disk where that is less. Any thread may ask.
    """

    def __init__(self, directory: Path, least: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._directory = directory
        self._least = least
        self._clock = clock
        self._next_look = 0.0
        self._has_room = True

    def has_room(self) -> bool:
        """Whether more may be written."""
        now = self._clock()
        if now >= self._next_look:
            self._next_look = now + LOOK_SECONDS
            self._has_room = self._look()
        return self._has_room

    def _look(self) -> bool:
        try:
            found = os.statvfs(self._directory)
        except OSError:
            # Whoever writes finds out by himself
            return True
        least = min(self._least, found.f_blocks * found.f_frsize // SHARE)
        return found.f_bavail * found.f_frsize >= least
