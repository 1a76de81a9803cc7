"""The committers of one replica: one a writer, each with the chats that fall to it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from palaver.messenger import metrics
from palaver.messenger.pending_send import PendingSend
from palaver.messenger.realtime.committer import Committer
from palaver.messenger.store.journal import Journal, ReceiptKey, Writes
from palaver.runtime.settings.messenger import MessengerSettings


class Committers:
    """Submits all that concerns one chat to one and the same committer, so that it is written in the order in
    which it came. `on_committed`: see `Committer`."""

    def __init__(
        self, journals: Sequence[Journal], on_committed: Callable[[Writes], None], settings: MessengerSettings
    ) -> None:
        queue_messages = max(1, settings.queue_messages // len(journals))
        self._committers = [
            Committer(journal, on_committed, settings, queue_messages) for journal in journals
        ]
        self.is_stopping = False

    async def run(self) -> None:
        """Writes until `stop`."""
        metrics.QUEUE_MESSAGES.set_function(lambda: sum(one.queued for one in self._committers))
        metrics.LAG_SECONDS.set_function(lambda: max(one.lag_seconds() for one in self._committers))
        await asyncio.gather(*(one.run() for one in self._committers))

    def stop(self) -> None:
        """Refuses what comes from now on. `run` ends when what waits is written."""
        self.is_stopping = True
        for one in self._committers:
            one.stop()

    def submit(self, send: PendingSend) -> None:
        """See `Committer.submit`."""
        self._of(send.membership.chat_id).submit(send)

    def submit_receipt(self, key: ReceiptKey, received_seq: int, read_seq: int) -> None:
        """See `Committer.submit_receipt`."""
        self._of(key[0]).submit_receipt(key, received_seq, read_seq)

    def submit_activity(self, activity: Mapping[bytes, int]) -> None:
        """See `Committer.submit_activity`."""
        for chat_id, at in activity.items():
            self._of(chat_id).submit_activity({chat_id: at})

    def submit_presence(self, user_id: bytes, online: bool, at: int) -> None:
        """See `Committer.submit_presence`."""
        self._of(user_id).submit_presence(user_id, online, at)

    def _of(self, about: bytes) -> Committer:
        # The end of an id is random
        return self._committers[int.from_bytes(about[-2:], "big") % len(self._committers)]
