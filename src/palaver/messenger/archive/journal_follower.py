"""Following the journal: what was committed since, from the commit log, or from all chats where the log no
longer has it."""

from collections.abc import Iterable

from palaver.messenger.archive.backlog import Backlog
from palaver.messenger.archive.journal_rows import read_positions, read_unarchived
from palaver.messenger.events import Commit, MessageChanged, MessagesAppended
from palaver.messenger.store.commit_log import LogTrimmedError, read_after, read_newest
from palaver.runtime.sql.database import Database
from palaver.runtime.telemetry.configuration import log

COMMITS_AT_ONCE = 500
CHATS_AT_ONCE = 1_000


class JournalFollower:
    """Adds to a backlog what is to be archived, a step at a time."""

    def __init__(self, database: Database, backlog: Backlog) -> None:
        self._database = database
        self._backlog = backlog
        self._vector: dict[int, int] = {}
        # The chat behind which the search through all chats goes on; None: it is over
        self._searched: bytes | None = None

    async def begin(self) -> None:
        """Goes on where the last archiver ended; the first one searches all chats."""
        self._vector = await self._database.read(read_positions)
        if not self._vector:
            await self.search()

    async def search(self) -> None:
        """Searches all chats for what is not archived, then follows the log from where it is now."""
        log.info("search_began")
        self._vector = await self._database.read(read_newest)
        self._searched = b""
        self._backlog.begin_anew()

    async def advance(self) -> bool:
        """Adds what comes next. False: there was nothing more."""
        if self._searched is not None:
            return await self._search_on(self._searched)
        try:
            commits = await self._database.read(read_after, self._vector, COMMITS_AT_ONCE)
        except LogTrimmedError:
            log.warning("archiver_too_far_behind")
            await self.search()
            return True
        self._add(commits)
        return bool(commits)

    async def lag(self) -> int:
        """How many transactions of the log have not been followed."""
        newest = await self._database.read(read_newest)
        return sum(max(0, number - self._vector.get(writer, 0)) for writer, number in newest.items())

    def _add(self, commits: Iterable[Commit]) -> None:
        added = False
        for (writer, number), entries in commits:
            self._vector[writer] = max(number, self._vector.get(writer, 0))
            for entry in entries:
                if isinstance(entry, MessagesAppended):
                    count = entry.last_seq - entry.first_seq + 1
                    self._backlog.want(entry.chat_id, entry.last_seq, count)
                elif isinstance(entry, MessageChanged):
                    self._backlog.change((entry.chat_id, entry.seq))
            added = True
        if added:
            self._backlog.end_step(dict(self._vector))

    async def _search_on(self, behind: bytes) -> bool:
        last, unarchived, changed = await self._database.read(read_unarchived, behind, CHATS_AT_ONCE)
        for chat_id, first_seq, last_seq in unarchived:
            self._backlog.want(chat_id, last_seq, last_seq - first_seq + 1)
        for place in changed:
            self._backlog.change(place)
        self._searched = last
        if last is None:
            self._backlog.end_step(dict(self._vector))
            log.info("search_ended")
        return True
