"""The committers of one replica."""

import asyncio

import pytest

from palaver.contracts.errors import RESTARTING, PalaverError
from palaver.contracts.ids import new_id
from palaver.messenger.domain import Membership
from palaver.messenger.pending_send import PendingSend
from palaver.messenger.realtime.committers import Committers
from palaver.messenger.store.journal import Writes
from palaver.runtime.settings.messenger import MessengerSettings
from tests.harness.noted_replies import NotedReply

ALICE = new_id()


class NotedJournal:
    """A journal that only notes its batches."""

    def __init__(self) -> None:
        self.written: list[Writes] = []

    async def write(self, writes: Writes) -> None:
        """See `Journal.write`."""
        await asyncio.sleep(0)
        self.written.append(writes)


def send_to(chat_id: bytes) -> PendingSend:
    """A request to send one message."""
    membership = Membership(chat_id, False, 1, frozenset([ALICE]))
    return PendingSend(membership, ALICE, [new_id()], ["text"], NotedReply())


async def test_all_of_one_chat_goes_one_way() -> None:
    """Two messages of one sender would change places, or a receipt be older than its message."""
    journals = [NotedJournal() for _ in range(3)]
    batches: list[Writes] = []
    committers = Committers(journals, batches.append, MessengerSettings())
    running = asyncio.create_task(committers.run())
    chat_ids = [new_id() for _ in range(40)]
    for _ in range(3):
        for chat_id in chat_ids:
            committers.submit(send_to(chat_id))
            committers.submit_receipt((chat_id, ALICE), 1, 1)
            committers.submit_activity({chat_id: 5})
            committers.submit_presence(chat_id, True, 5)
        await asyncio.sleep(0.001)
    committers.stop()
    await running
    assert committers.is_stopping
    assert sum(len(writes.sends) for writes in batches) == 120
    of_journal = [
        {
            *(send.membership.chat_id for writes in journal.written for send in writes.sends),
            *(chat_id for writes in journal.written for chat_id, _ in writes.receipts),
            *(chat_id for writes in journal.written for chat_id in writes.activity),
            *(user_id for writes in journal.written for user_id in writes.presence),
        }
        for journal in journals
    ]
    assert all(of_journal)
    assert sum(map(len, of_journal)) == len(chat_ids)


async def test_nothing_is_taken_after_a_stop() -> None:
    """A message would wait for a committer that has ended."""
    committers = Committers([NotedJournal()], lambda _: None, MessengerSettings())
    running = asyncio.create_task(committers.run())
    committers.stop()
    with pytest.raises(PalaverError) as refused:
        committers.submit(send_to(new_id()))
    assert refused.value.kind is RESTARTING
    await running
