"""Following the commit log itself: delivering what was lost on its way, and trimming what nobody needs any
more."""

import asyncio
from collections.abc import Mapping

from palaver.messenger.realtime.bus_handler import BusHandler
from palaver.messenger.realtime.followed import Delivery, FollowedPositions
from palaver.messenger.store.commit_log import LogTrimmedError, read_after, trim_log
from palaver.runtime.sql.database import Database
from palaver.runtime.telemetry.configuration import log

# A transaction whose delivery did not come to its end is read from the log after so long.
HOLE_SECONDS = 1.0
HOLE_COMMITS = 500
# The log is trimmed this often, so many rows of it at once, with a pause in which sends are written.
TRIM_SECONDS = 10.0
TRIM_ROWS = 2_000
TRIM_PAUSE_SECONDS = 0.05


class LogFollower:
    """Reads and trims the commit log beside the live path. `keep_seconds`: how long rows are kept."""

    def __init__(
        self, database: Database, followed: FollowedPositions, handler: BusHandler, keep_seconds: float
    ) -> None:
        self._database = database
        self._followed = followed
        self._handler = handler
        self._keep_seconds = keep_seconds

    async def fill_holes(self) -> None:
        """Delivers from the log what the bus has lost, or what failed on its way; for ever."""
        while True:
            stood = self._followed.vector
            await asyncio.sleep(HOLE_SECONDS)
            if stood is self._followed.vector and self._followed.has_hole():
                await self._fill_hole(stood)

    async def _fill_hole(self, stood: Mapping[int, int]) -> None:
        try:
            commits = await self._database.read(read_after, stood, HOLE_COMMITS)
        except LogTrimmedError:
            log.error("commit_log_trimmed_too_early")
            self._followed.begin(self._followed.known)
            return
        except Exception:
            log.exception("commit_log_not_read")
            return
        for commit in commits:
            if self._followed.note(commit.position):
                log.warning("commit_delivered_from_log", number=commit.position.number)
                self._handler.handle(commit.entries, Delivery(self._followed, commit.position))

    async def trim(self) -> None:
        """Deletes what is older than `keep_seconds`, by a clock that wall-clock time does not move; for
        ever."""
        marks: list[tuple[float, dict[int, int]]] = []
        while True:
            await asyncio.sleep(TRIM_SECONDS)
            now = asyncio.get_running_loop().time()
            marks.append((now, self._followed.vector))
            old = [mark for mark in marks if now - mark[0] >= self._keep_seconds]
            if old:
                marks = marks[len(old) - 1 :]
                await self._trim_until(old[-1][1])

    async def _trim_until(self, until: Mapping[int, int]) -> None:
        try:
            while await self._database.write(trim_log, until, TRIM_ROWS):  # noqa: ASYNC110 - nobody signals
                await asyncio.sleep(TRIM_PAUSE_SECONDS)
        except Exception:
            log.exception("commit_log_not_trimmed")
