"""Order between replicas: holes are filled from the journal before what stands behind them is told."""

import asyncio

import pytest_asyncio
from sqlalchemy import text

from palaver.contracts.ids import new_id
from palaver.messenger.realtime.bus import NewMessages
from palaver.messenger.realtime.gateway_connection import GatewayConnection, Socket
from palaver.messenger.realtime.hub import Hub
from palaver.messenger.realtime.memberships import Audience
from palaver.messenger.realtime.ordering import OrderedDelivery
from palaver.messenger.sequencing import Append
from palaver.runtime.sql.database import SqliteDatabase
from tests.harness.journal_rows import write_messages
from tests.harness.messenger_database import MessengerDatabase
from tests.harness.waiting import eventually

ALICE, BOB = new_id(), new_id()


class Telling:
    """A teller with one socket of Bob's. Alice writes here, and through another replica."""

    def __init__(self, messenger_db: MessengerDatabase, database: SqliteDatabase) -> None:
        self.messenger_db = messenger_db
        self.hub = Hub()
        self.teller = OrderedDelivery(self.hub, database)
        self.gateway = GatewayConnection()
        self.hub.add(Socket(1, self.gateway, BOB, new_id(), 1, implicit=False))
        self.chat_id = messenger_db.direct(ALICE, BOB)
        self.audience = Audience(self.chat_id, False, 1, 0, frozenset([ALICE, BOB]))

    @property
    def told(self) -> list[int]:
        """The seqs that the socket was told."""
        deliveries = self.gateway.outbox.deliveries
        return [one.first_seq + n for one in deliveries if 1 in one.sockets for n in range(len(one.ids))]

    def write(self, *texts: str) -> Append:
        """Writes messages to the journal. They are another replica's, until they are given to the teller."""
        first_seq = len(self.messenger_db.history(self.chat_id)) + 1
        self.messenger_db.write(write_messages, self.chat_id, ALICE, texts)
        rows = self.messenger_db.history(self.chat_id)[first_seq - 1 :]
        append = Append(self.audience, ALICE, [row.client_id for row in rows], list(texts))
        append.first_seq, append.ids, append.created_at = first_seq, [row.id for row in rows], 100
        return append

    def hear(self, first_seq: int, last_seq: int) -> None:
        """Another replica says that it wrote."""
        self.teller.hear_new(self.audience, NewMessages(self.chat_id, first_seq, last_seq, 1))

    async def until_told(self, *seqs: int) -> None:
        """Waits until exactly these were told, in this order."""
        await eventually(lambda: len(self.told) >= len(seqs), f"{seqs} told; {self.told}")
        await self.teller.stop()
        assert self.told == list(seqs)


@pytest_asyncio.fixture
async def telling(messenger_db: MessengerDatabase, database: SqliteDatabase) -> Telling:
    """A teller with one socket."""
    return Telling(messenger_db, database)


async def test_own_messages_are_told_at_once(telling: Telling) -> None:
    """Each message would wait for a read of the journal."""
    telling.teller.tell_append(telling.write("a", "b"))
    telling.teller.tell_append(telling.write("c"))
    assert telling.told == [1, 2, 3]


async def test_another_replicas_messages_are_told_when_they_are_heard_of(telling: Telling) -> None:
    """Members at two gateways would not hear each other."""
    telling.write("a", "b")
    telling.hear(1, 2)
    await telling.until_told(1, 2)


async def test_an_own_message_behind_a_hole_waits_for_it(telling: Telling) -> None:
    """Members would see another order than the history has (promise P2)."""
    telling.write("theirs")
    telling.teller.tell_append(telling.write("mine"))
    assert telling.told == []
    await telling.until_told(1, 2)


async def test_news_that_come_in_any_order_are_told_in_one(telling: Telling) -> None:
    """A bus that overtakes itself would mix up conversations."""
    for name in ("a", "b", "c"):
        telling.write(name)
    for seq in (3, 1, 2, 3, 1):
        telling.hear(seq, seq)
    await telling.until_told(1, 2, 3)


async def test_an_own_message_on_disk_is_left_to_its_outcome(telling: Telling) -> None:
    """Its sender would get it as a message, and no acknowledgement."""
    mine = telling.write("mine")
    telling.write("theirs")
    telling.audience.unsettled.update(mine.client_ids)
    telling.hear(2, 2)
    await telling.teller.stop()
    assert telling.told == []
    telling.audience.unsettled.clear()
    telling.teller.tell_append(mine)
    await telling.until_told(1, 2)


async def test_what_waited_for_an_outcome_is_told_where_that_brings_nothing_new(telling: Telling) -> None:
    """A repeated send, stored by the other replica, would hide what follows until somebody writes."""
    repeated = telling.write("theirs, and mine")
    telling.write("theirs")
    telling.audience.unsettled.update(repeated.client_ids)
    telling.hear(1, 2)
    await telling.teller.stop()
    telling.audience.unsettled.clear()
    telling.teller.go_on(telling.audience)
    await telling.until_told(1, 2)


async def test_what_was_told_already_is_acknowledged_all_the_same(telling: Telling) -> None:
    """Its sender would wait for ever."""
    mine = telling.write("mine")
    telling.audience.told_seq = 5
    telling.teller.tell_append(mine)
    assert telling.told == [1]
    assert telling.audience.told_seq == 5
    assert telling.audience.held == {}


async def test_news_of_what_counted_as_told_are_told_late(telling: Telling) -> None:
    """A message that was committed just before the chat was first looked at would be lost."""
    telling.write("a", "b")
    telling.audience.told_seq = telling.audience.born_seq = telling.audience.wanted = 2
    telling.hear(2, 2)
    await telling.until_told(2)


async def test_a_hole_that_cannot_be_read_is_tried_again(telling: Telling) -> None:
    """A moment without the disk would silence a chat for good."""
    telling.write("theirs")
    telling.messenger_db.write(lambda c: c.execute(text("ALTER TABLE messages RENAME TO away")))
    telling.hear(1, 1)
    await telling.teller.stop()
    telling.messenger_db.write(lambda c: c.execute(text("ALTER TABLE away RENAME TO messages")))
    assert telling.told == []
    telling.teller.tell_append(telling.write("mine"))
    await telling.until_told(1, 2)


async def test_a_long_hole_is_filled_while_others_write(telling: Telling) -> None:
    """What comes while a hole is filled would be told before its end."""
    for number in range(5):
        telling.write(*(f"{number}" for _ in range(100)))
        telling.hear(number * 100 + 1, number * 100 + 100)
        await asyncio.sleep(0.001)
    telling.teller.tell_append(telling.write("mine"))
    await telling.until_told(*range(1, 502))
