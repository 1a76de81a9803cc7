"""Following the commit log itself: delivering what was lost on its way, and trimming what nobody needs any
more."""

import asyncio
from collections.abc import Callable, Mapping

from palaver.messenger.realtime.bus import Bus
from palaver.messenger.realtime.bus_handler import BusHandler
from palaver.messenger.realtime.followed import FollowedPositions
from palaver.messenger.store.commit_log import LogTrimmedError, read_holes, read_newest, trim_log
from palaver.runtime.sql.database import Database, DatabaseUnavailableError
from palaver.runtime.telemetry.configuration import log

# Rows of one writer that are read at once
HOLE_COMMITS = 500
# While the bus brings nothing, the log is all that there is
AWAY_SECONDS = 0.25
# The log is trimmed this often, so many rows of it at once, with a pause in which sends are written.
TRIM_SECONDS = 10.0
TRIM_ROWS = 2_000
TRIM_PAUSE_SECONDS = 0.05


class LogFollower:
    """Reads and trims the commit log beside the live path.

    `is_whole`: whether the bus brings now what others publish. `cut_gateways`: ends their streams, so that
    their sockets resume. `keep_seconds`: how long rows are kept.
    """

    def __init__(
        self,
        database: Database,
        followed: FollowedPositions,
        handler: BusHandler,
        bus: Bus,
        is_whole: Callable[[], bool],
        cut_gateways: Callable[[], None],
        keep_seconds: float,
    ) -> None:
        self._database = database
        self._followed = followed
        self._handler = handler
        self._bus = bus
        self._is_whole = is_whole
        self._cut_gateways = cut_gateways
        self._keep_seconds = keep_seconds
        self._wake = asyncio.Event()

    def look(self) -> None:
        """Looks at the log at once: the bus may have lost something."""
        self._wake.set()

    async def follow(self) -> None:
        """Delivers from the log what the bus has lost or nobody has published, or what failed on its way; for
        ever.

        Where the bus works, a transaction that is on its way gets the time between two looks.
        """
        stood: Mapping[int, int] = {}
        while True:
            was_woken = await self._pause()
            try:
                if was_woken:
                    await self._look()
                now = was_woken or not self._is_whole()
                holes = self._followed.holes()
                behind = {w: last for w, last in holes.items() if now or stood.get(w) == last}
                await self._fill(behind, self._followed.known)
                await self._look()
                stood = self._followed.holes()
            except DatabaseUnavailableError as error:
                log.warning("commit_log_not_read", debug=error.debug)
            except Exception:
                log.exception("commit_log_not_read")

    async def _pause(self) -> bool:
        """Waits for the next look. True: somebody wants it now."""
        try:
            seconds = self._bus.look_seconds
            async with asyncio.timeout(seconds if self._is_whole() else min(seconds, AWAY_SECONDS)):
                await self._wake.wait()
        except TimeoutError:
            return False
        self._wake.clear()
        return True

    async def _look(self) -> None:
        if self._bus.is_shared:
            self._followed.expect(await self._database.read(read_newest))

    async def _fill(self, holes: Mapping[int, int], known: Mapping[int, int]) -> None:
        """Delivers what lies behind the holes, up to the known numbers: a newer one may be visible, and not
        yet on the database's disk."""
        behind = dict(holes)
        delivered = 0
        while behind:
            try:
                commits = await self._database.read(read_holes, behind, HOLE_COMMITS)
            except LogTrimmedError:
                log.error("commit_log_trimmed_too_early", holes=behind)
                self._cut_gateways()
                self._followed.begin(self._followed.known)
                return
            for commit in commits:
                writer, number = commit.position
                behind[writer] = number
                if number <= known.get(writer, 0):
                    delivered += self._handler.receive_logged(commit)
            behind = {w: last for w, last in behind.items() if commits and last < known.get(w, 0)}
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
