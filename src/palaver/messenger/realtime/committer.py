"""Group commit: takes everything that waits and writes it in one transaction, again and again.

While one transaction is on its way to the disk, the next batch gathers: the busier it is, the larger the
batches, and the less each message costs.
"""

import asyncio
import time
from collections.abc import Callable

from palaver.contracts.errors import OVERLOADED, RESTARTING, UNAVAILABLE, PalaverError
from palaver.contracts.times import now_us
from palaver.messenger import metrics
from palaver.messenger.realtime.fair_queue import FairQueue
from palaver.messenger.realtime.message_spans import record_batch
from palaver.messenger.sequencing import Append
from palaver.messenger.store.journal import Journal, Writes
from palaver.runtime.settings import MessengerSettings
from palaver.runtime.telemetry.configuration import log

ReceiptKey = tuple[bytes, bytes]


class Committer:
    """The one writer of a replica. `on_written` is told of each batch, on the event loop, in order."""

    def __init__(
        self, journal: Journal, on_written: Callable[[Writes], None], settings: MessengerSettings
    ) -> None:
        self._journal = journal
        self._on_written = on_written
        self._batch_messages = settings.batch_messages
        self._queue_messages = settings.queue_messages
        self._queue = FairQueue(settings.sender_share)
        self._receipts: dict[ReceiptKey, tuple[int, int]] = {}
        self._activity: dict[bytes, int] = {}
        self._seen: dict[bytes, int] = {}
        self._wake = asyncio.Event()
        # When the batch that is being written was taken; 0: none is
        self._writing_since = 0
        self.is_stopping = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to write."""
        metrics.QUEUE_MESSAGES.set_function(lambda: self._queue.messages)
        metrics.LAG_SECONDS.set_function(self._lag_seconds)
        self._task = asyncio.create_task(self._run(), name="committer")

    async def stop(self) -> None:
        """Refuses what comes from now on, and writes what waits."""
        self.is_stopping = True
        self._wake.set()
        if self._task is not None:
            await self._task

    def told_until(self) -> int:
        """The time before which everything has been written and told, in microseconds since the epoch. A
        message of the batch that is being written has its time already, and is told later."""
        return self._writing_since or now_us()

    def submit(self, append: Append) -> None:
        """Queues an append. Raises `overloaded` where too many wait, `restarting` after `stop`."""
        if self.is_stopping:
            raise PalaverError(RESTARTING, retry_after=1.0)
        if self._queue.messages >= self._queue_messages:
            raise PalaverError(OVERLOADED, retry_after=1.0, waiting=self._queue.messages)
        append.version = append.audience.version
        append.audience.pending += 1
        self._queue.put(append)
        self._wake.set()

    def submit_receipt(self, key: ReceiptKey, received_seq: int, read_seq: int) -> None:
        """Queues a receipt (chat id, user id); several of one key become one."""
        known = self._receipts.get(key, (0, 0))
        self._receipts[key] = (max(known[0], received_seq), max(known[1], read_seq))
        self._wake.set()

    def submit_activity(self, activity: dict[bytes, int]) -> None:
        """Queues members' copies of chats' activity."""
        self._activity.update(activity)
        self._wake.set()

    def submit_seen(self, user_id: bytes, at: int) -> None:
        """Queues when a user was last seen."""
        self._seen[user_id] = at
        self._wake.set()

    def _lag_seconds(self) -> float:
        return (now_us() - self._writing_since) / 1e6 if self._writing_since else 0.0

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while writes := self._take():
                await self._write(writes)
            if self.is_stopping:
                return

    def _take(self) -> Writes | None:
        appends = self._queue.take(self._batch_messages)
        if not (appends or self._receipts or self._activity or self._seen):
            return None
        writes = Writes(appends, self._receipts, self._activity, self._seen)
        self._receipts, self._activity, self._seen = {}, {}, {}
        return writes

    async def _write(self, writes: Writes) -> None:
        self._writing_since = now_us()
        began = time.time_ns()
        try:
            await self._journal.write(writes)
        except Exception as error:
            # Whether it is on disk is unknown; senders repeat with the same client ids, so either is safe
            log.exception("batch not written", messages=sum(len(a.texts) for a in writes.appends))
            writes.error = PalaverError(UNAVAILABLE, retry_after=1.0, cause=repr(error))
            for append in writes.appends:
                append.error = writes.error
        for append in writes.appends:
            append.audience.pending -= 1
        ended = time.time_ns()
        self._on_written(writes)
        self._writing_since = 0
        measure(writes, ended - began)
        record_batch(writes.appends, began, ended, writes.error)


def measure(writes: Writes, nanoseconds: int) -> None:
    """Counts a batch, and what it wrote."""
    metrics.COMMIT_SECONDS.observe(nanoseconds / 1e9)
    if writes.error is not None:
        metrics.COMMIT_FAILURES.inc()
    elif writes.appends:
        metrics.BATCH_MESSAGES.observe(sum([len(append.texts) for append in writes.appends]))
        metrics.COMMITTED.inc(sum([len(append.ids) for append in writes.appends]))
        repeated = sum([append.stored is not None for append in writes.appends])
        if repeated:
            metrics.REPEATED.inc(repeated)
