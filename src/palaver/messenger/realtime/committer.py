"""Group commit: takes everything that waits and writes it in one transaction, again and again.

While one transaction is on its way to the disk, the next batch gathers: the busier it is, the larger the
batches, and the less each message costs.
"""

import asyncio
import time
from collections.abc import Callable, Mapping

from palaver.contracts.errors import OVERLOADED, RESTARTING, UNAVAILABLE, PalaverError
from palaver.messenger import metrics
from palaver.messenger.pending_send import PendingSend
from palaver.messenger.realtime.fair_queue import FairQueue
from palaver.messenger.realtime.message_spans import record_batch
from palaver.messenger.store.journal import Journal, ReceiptKey, Writes
from palaver.runtime.settings.messenger import MessengerSettings
from palaver.runtime.sql.database import DatabaseUnavailableError
from palaver.runtime.telemetry.configuration import log

# Between two batches while the disk is full, which may be for hours; and before a chat is tried again that
# somebody else holds
PAUSE_SECONDS = 0.2


class Committer:
    """Fills the batches of one writer. `on_committed` gets each batch, on the event loop, in order.
    `queue_messages`: how many messages may wait."""

    def __init__(
        self,
        journal: Journal,
        on_committed: Callable[[Writes], None],
        settings: MessengerSettings,
        queue_messages: int,
    ) -> None:
        self._journal = journal
        self._on_committed = on_committed
        self._batch_messages = settings.batch_messages
        self._queue_messages = queue_messages
        self._queue = FairQueue(settings.sender_share)
        self._receipts: dict[ReceiptKey, tuple[int, int]] = {}
        self._activity: dict[bytes, int] = {}
        self._presence: dict[bytes, tuple[bool, int]] = {}
        self._wake = asyncio.Event()
        # When the batch that is being written was taken; 0: none is
        self._writing_since = 0.0
        self.is_stopping = False

    async def run(self) -> None:
        """Writes until `stop`."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while writes := self._take():
                await self._write(writes)
            if self.is_stopping:
                return

    def stop(self) -> None:
        """Refuses what comes from now on. `run` ends when what waits is written."""
        self.is_stopping = True
        self._wake.set()

    def submit(self, send: PendingSend) -> None:
        """Queues a send. Raises `overloaded` where too many wait, `restarting` after `stop`."""
        if self.is_stopping:
            raise PalaverError(RESTARTING, retry_after=1.0)
        if self._queue.messages >= self._queue_messages:
            self._check_room(send.sender_id)
        self._queue.put(send)
        self._wake.set()

    def _check_room(self, sender_id: bytes) -> None:
        """The queue is full: as much again is for senders who have nothing in it, so that those who filled it
        keep nobody out. Raises `overloaded`."""
        if self._queue.has(sender_id) or self._queue.messages >= 2 * self._queue_messages:
            raise PalaverError(OVERLOADED, retry_after=1.0, waiting=self._queue.messages)

    def submit_receipt(self, key: ReceiptKey, received_seq: int, read_seq: int) -> None:
        """Queues a receipt; several of one key become one."""
        known = self._receipts.get(key, (0, 0))
        self._receipts[key] = (max(known[0], received_seq), max(known[1], read_seq))
        self._wake.set()

    def submit_activity(self, activity: Mapping[bytes, int]) -> None:
        """Queues members' copies of chats' activity."""
        self._activity.update(activity)
        self._wake.set()

    def submit_presence(self, user_id: bytes, online: bool, at: int) -> None:
        """Queues that a user came or went, or was seen again. `at`: microseconds since the epoch."""
        self._presence[user_id] = (online, at)
        self._wake.set()

    @property
    def queued(self) -> int:
        """How many messages wait."""
        return self._queue.messages

    def lag_seconds(self) -> float:
        """The age of the batch that is being written; 0 where none is."""
        return time.monotonic() - self._writing_since if self._writing_since else 0.0

    def _take(self) -> Writes | None:
        sends = self._queue.take(self._batch_messages)
        if not (sends or self._receipts or self._activity or self._presence):
            return None
        writes = Writes(sends, self._receipts, self._activity, self._presence)
        self._receipts, self._activity, self._presence = {}, {}, {}
        return writes

    async def _write(self, writes: Writes) -> None:
        self._writing_since = time.monotonic()
        began = time.time_ns()
        try:
            await self._journal.write(writes)
        except Exception as error:
            # Whether it is on disk is unknown; senders repeat with the same client ids, so either is safe
            messages = sum(len(send.texts) for send in writes.sends)
            if isinstance(error, DatabaseUnavailableError):
                log.error("batch_not_written", messages=messages, debug=error.debug)
                writes.error = error
                self._put_back(writes)
            else:
                log.exception("batch_not_written", messages=messages)
                writes.error = PalaverError(UNAVAILABLE, retry_after=1.0, cause=type(error).__name__)
            # The commit itself may have failed: the journal had filled in what is undone now
            writes.position, writes.appended, writes.others = None, (), ()
            writes.stored_receipts = {}
            for send in writes.sends:
                send.error = writes.error
        if writes.busy:
            self._put_back_busy(writes)
        ended = time.time_ns()
        try:
            self._on_committed(writes)
        except Exception:
            # Whatever it was, the next batch must be written: what was not delivered is read from the log
            log.exception("batch_not_delivered")
        self._writing_since = 0.0
        measure(writes, ended - began)
        record_batch(writes.sends, began, ended, writes.error)
        if isinstance(writes.error, DatabaseUnavailableError) and not self.is_stopping:
            await asyncio.sleep(PAUSE_SECONDS)

    def _put_back_busy(self, writes: Writes) -> None:
        """Tries again after a pause what was not written because somebody else holds its chat."""
        receipts = {key: seqs for key, seqs in writes.receipts.items() if key[0] in writes.busy}
        activity = {chat_id: at for chat_id, at in writes.activity.items() if chat_id in writes.busy}
        if receipts or activity:
            again = Writes(receipts=receipts, activity=activity)
            asyncio.get_running_loop().call_later(PAUSE_SECONDS, self._put_back, again)

    def _put_back(self, writes: Writes) -> None:
        """Keeps what nobody sends again for the next batch: it is what is true now, not what is asked for."""
        if self.is_stopping:
            return
        for key, (received_seq, read_seq) in writes.receipts.items():
            self.submit_receipt(key, received_seq, read_seq)
        self._activity = {**writes.activity, **self._activity}
        self._presence = {**writes.presence, **self._presence}
        self._wake.set()


def measure(writes: Writes, nanoseconds: int) -> None:
    """Counts a batch, and what it wrote."""
    metrics.COMMIT_SECONDS.observe(nanoseconds / 1e9)
    if writes.error is not None:
        metrics.COMMIT_FAILURES.inc()
    elif writes.sends:
        metrics.BATCH_MESSAGES.observe(sum([len(send.texts) for send in writes.sends]))
        metrics.COMMITTED.inc(sum([len(send.ids) for send in writes.sends]))
        repeated = sum([send.stored is not None for send in writes.sends])
        if repeated:
            metrics.REPEATED.inc(repeated)
