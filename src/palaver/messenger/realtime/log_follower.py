"""Following the commit log itself: delivering what was lost on its way, and trimming what nobody needs any
more."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping

from palaver.messenger.realtime.bus_handler import BusHandler
from palaver.messenger.realtime.followed import FollowedPositions
from palaver.messenger.store.commit_log import LogTrimmedError, read_after, read_newest, trim_log
from palaver.runtime.sql.database import Database
from palaver.runtime.telemetry.configuration import log

# A transaction whose delivery did not come to its end is read from the log after so long.
HOLE_SECONDS = 1.0
HOLE_COMMITS = 500
# While the bus brings nothing, the log is all that there is
AWAY_SECONDS = 0.25
# The log is trimmed this often, so many rows of it at once, with a pause in which sends are written.
TRIM_SECONDS = 10.0
TRIM_ROWS = 2_000
TRIM_PAUSE_SECONDS = 0.05


class LogFollower:
    """Reads and trims the commit log beside the live path.

    `keep_seconds`: how long rows are kept. `is_shared`: whether others write too, and may die before they
    publish it. `is_whole`: whether the bus brings now what they publish.
    """

    def __init__(
        self,
        database: Database,
        followed: FollowedPositions,
        handler: BusHandler,
        keep_seconds: float,
        *,
        is_shared: bool,
        is_whole: Callable[[], bool],
    ) -> None:
        self._database = database
        self._followed = followed
        self._handler = handler
        self._keep_seconds = keep_seconds
        self._is_shared = is_shared
        self._is_whole = is_whole
        self._looks_now = asyncio.Event()

    def look(self) -> None:
        """Looks at the log now: the bus may have lost something."""
        self._looks_now.set()

    async def fill_holes(self) -> None:
        """Delivers from the log what the bus has lost or nobody has published, or what failed on its way; for
        ever."""
        known: dict[int, int] = {}
        while True:
            is_whole = self._is_whole()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._looks_now.wait(), HOLE_SECONDS if is_whole else AWAY_SECONDS)
                is_whole = False
            self._looks_now.clear()
            try:
                if self._is_shared:
                    self._followed.expect(await self._database.read(read_newest))
                holes = self._followed.holes()
                # Where the bus works, what is missing is most likely on its way
                if holes and (not is_whole or any(known.get(one) == last for one, last in holes.items())):
                    await self._fill_holes()
            except Exception:
                log.exception("commit_log_not_read")
            known = self._followed.holes()

    async def _fill_holes(self) -> None:
        delivered = 0
        while True:
            try:
                commits = await self._database.read(read_after, self._followed.vector, HOLE_COMMITS)
            except LogTrimmedError:
                log.error("commit_log_trimmed_too_early")
                self._followed.begin(self._followed.known)
                return
            delivered += sum([self._handler.receive_logged(commit) for commit in commits])
            if len(commits) < HOLE_COMMITS:
                break
            reached: dict[int, int] = {}
            for writer, number in (commit.position for commit in commits):
                reached[writer] = max(number, reached.get(writer, 0))
            try:
                await asyncio.wait_for(self._followed.reached(reached), HOLE_SECONDS)
            except TimeoutError:
                break
        if delivered:
            log.info("commits_delivered_from_log", commits=delivered)

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
