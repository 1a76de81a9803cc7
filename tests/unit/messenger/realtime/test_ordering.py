"""Order between replicas: holes are filled from the store before what stands behind them is delivered."""

import asyncio

import pytest_asyncio
from sqlalchemy import text

from palaver.contracts.ids import new_id
from palaver.messenger.domain import Membership
from palaver.messenger.events import MessagesAppended, Position
from palaver.messenger.pending_send import PendingSend
from palaver.messenger.realtime.followed import Delivery, FollowedPositions
from palaver.messenger.realtime.gateway_connection import GatewayConnection, Socket
from palaver.messenger.realtime.hub import Hub
from palaver.messenger.realtime.memberships import CachedChat, DeliveryState, Memberships
from palaver.messenger.realtime.ordering import OrderedDelivery
from palaver.messenger.store.commit_log import append_commit
from palaver.messenger.store.messages import SqlMessageReader
from palaver.runtime.sql.sqlite import SqliteDatabase
from tests.harness.journal_rows import write_messages
from tests.harness.messenger_database import MessengerDatabase
from tests.harness.noted_replies import NotedReply
from tests.harness.stream_peers import NotedStream
from tests.harness.waiting import eventually

ALICE, BOB = new_id(), new_id()


class Chat:
    """A chat with one socket of Bob's. Alice writes here, and through another replica."""

    def __init__(self, messenger_db: MessengerDatabase, database: SqliteDatabase) -> None:
        self.messenger_db = messenger_db
        self.hub = Hub()
        self.followed = FollowedPositions()
        self.ordering = OrderedDelivery(self.hub, self.followed, database, SqlMessageReader(database))
        self.gateway = GatewayConnection(self.followed, NotedStream(is_writable=False))
        self.hub.add(Socket(1, self.gateway, BOB, new_id(), 1, implicit=False))
        self.chat_id = messenger_db.direct(ALICE, BOB)
        self.cached = CachedChat(Membership(self.chat_id, False, 1, frozenset([ALICE, BOB])), 0)
        self.commits = 0

    @property
    def state(self) -> DeliveryState:
        """How far the chat was delivered."""
        return self.cached.delivery

    @property
    def delivered(self) -> list[int]:
        """The seqs that the socket was sent."""
        deliveries = self.gateway.outbox.deliveries
        return [one.first_seq + n for one in deliveries if 1 in one.sockets for n in range(len(one.ids))]

    @property
    def unfinished(self) -> int:
        """How many of the transactions are not delivered yet."""
        return self.commits - self.followed.vector.get(1, 0)

    def write(self, *texts: str) -> PendingSend:
        """Writes messages to the journal. They are another replica's, until they are delivered as own."""
        first_seq = len(self.messenger_db.history(self.chat_id)) + 1
        self.messenger_db.write(write_messages, self.chat_id, ALICE, texts)
        rows = self.messenger_db.history(self.chat_id)[first_seq - 1 :]
        client_ids = [row.client_id for row in rows]
        send = PendingSend(self.cached.membership, ALICE, client_ids, list(texts), NotedReply())
        send.first_seq, send.ids, send.created_at = first_seq, [row.id for row in rows], 100
        return send

    def deliver(self, send: PendingSend) -> None:
        """The committer has written an own send."""
        delivery = self._delivery()
        self.ordering.deliver_send(self.cached, send, delivery)
        delivery.finish_part()

    def receive(self, last_seq: int, number: int = 0, first_seq: int = 1) -> None:
        """Another replica has written up to a seq. `number`: of the transaction, where it is read again."""
        if number:
            assert self.followed.note(Position(1, number))
        delivery = Delivery(self.followed, Position(1, number)) if number else self._delivery()
        self.ordering.deliver_until(self.cached, first_seq, last_seq, delivery)
        delivery.finish_part()

    def _delivery(self) -> Delivery:
        self.commits += 1
        position = Position(1, self.commits)
        self.followed.note(position)
        return Delivery(self.followed, position)

    async def until_delivered(self, *seqs: int) -> None:
        """Waits until exactly these were delivered, in this order, and nothing counts as under way."""
        await eventually(lambda: len(self.delivered) >= len(seqs), f"{seqs}; {self.delivered}")
        await self.ordering.stop()
        assert self.delivered == list(seqs)
        assert self.unfinished == 0


@pytest_asyncio.fixture
async def chat(messenger_db: MessengerDatabase, database: SqliteDatabase) -> Chat:
    """A chat with one socket."""
    return Chat(messenger_db, database)


async def test_own_messages_are_told_at_once(chat: Chat) -> None:
    """Each message would wait for a read of the journal."""
    chat.deliver(chat.write("a", "b"))
    chat.deliver(chat.write("c"))
    assert chat.delivered == [1, 2, 3]


async def test_another_replicas_messages_are_told_when_they_are_heard_of(chat: Chat) -> None:
    """Members at two gateways would not hear each other."""
    chat.write("a", "b")
    chat.receive(2)
    await chat.until_delivered(1, 2)


async def test_an_own_message_behind_a_hole_waits_for_it(chat: Chat) -> None:
    """Members would see another order than the history has (promise P2)."""
    chat.write("theirs")
    chat.deliver(chat.write("mine"))
    assert chat.delivered == []
    await chat.until_delivered(1, 2)


async def test_news_that_come_in_any_order_are_told_in_one(chat: Chat) -> None:
    """A bus that overtakes itself would mix up conversations."""
    for name in ("a", "b", "c"):
        chat.write(name)
    for seq in (3, 1, 2, 3, 1):
        chat.receive(seq)
    await chat.until_delivered(1, 2, 3)


async def test_an_own_message_on_disk_is_left_to_its_outcome(chat: Chat) -> None:
    """Its sender would get it as a message, and no acknowledgement."""
    mine = chat.write("mine")
    chat.write("theirs")
    chat.state.unsettled.update(mine.client_ids)
    chat.receive(2)
    await chat.ordering.stop()
    assert chat.delivered == []
    chat.state.unsettled.clear()
    chat.deliver(mine)
    await chat.until_delivered(1, 2)


async def test_what_waited_for_an_outcome_is_told_where_that_brings_nothing_new(chat: Chat) -> None:
    """A repeated send, stored by the other replica, would hide what follows until somebody writes."""
    repeated = chat.write("theirs, and mine")
    chat.write("theirs")
    chat.state.unsettled.update(repeated.client_ids)
    chat.receive(2)
    await chat.ordering.stop()
    chat.state.unsettled.clear()
    chat.ordering.go_on(chat.cached)
    await chat.until_delivered(1, 2)


async def test_what_was_told_already_is_acknowledged_all_the_same(chat: Chat) -> None:
    """Its sender would wait for ever."""
    mine = chat.write("mine")
    chat.state.delivered_seq = 5
    chat.deliver(mine)
    assert chat.delivered == [1]
    assert chat.state.delivered_seq == 5
    assert chat.state.held == {}


async def test_news_of_what_counted_as_told_are_told_late(chat: Chat, database: SqliteDatabase) -> None:
    """A message that was committed just before the chat was first looked at would be lost."""
    for seq in (1, 2):
        chat.write("text")
        chat.messenger_db.write(append_commit, [MessagesAppended(chat.chat_id, seq, seq, 1)])
    # The first was delivered, the second is on its way while the chat is read
    chat.followed.begin({1: 1})
    chat.commits = 1
    found = await Memberships(database, chat.followed, 10, is_shared=True).chat(chat.chat_id)
    assert found is not None
    chat.cached = found
    chat.receive(2)
    await chat.until_delivered(2)


async def test_a_hole_that_cannot_be_read_is_tried_again(chat: Chat) -> None:
    """A moment without the disk would silence a chat for good."""
    chat.write("theirs")
    chat.messenger_db.write(lambda c: c.execute(text("ALTER TABLE messages RENAME TO away")))
    chat.receive(1)
    await chat.ordering.stop()
    chat.messenger_db.write(lambda c: c.execute(text("ALTER TABLE away RENAME TO messages")))
    assert chat.delivered == []
    # The transaction is read from the log again; own sends do not wait for that
    assert chat.followed.holes()
    chat.deliver(chat.write("mine"))
    await eventually(lambda: chat.delivered == [1, 2], "delivered")
    assert chat.unfinished == 2
    chat.receive(1, number=1)
    await chat.until_delivered(1, 2)


async def test_a_transaction_ends_with_the_last_of_what_it_wrote(chat: Chat) -> None:
    """A gateway that is cut off meanwhile would take what it was not sent yet for delivered."""
    chat.write("theirs")
    chat.deliver(chat.write("mine"))
    assert chat.unfinished == 1
    await chat.until_delivered(1, 2)


async def test_a_long_hole_is_filled_while_others_write(chat: Chat) -> None:
    """What comes while a hole is filled would be told before its end."""
    for number in range(5):
        chat.write(*(f"{number}" for _ in range(100)))
        chat.receive(number * 100 + 100)
        await asyncio.sleep(0.001)
    chat.deliver(chat.write("mine"))
    await chat.until_delivered(*range(1, 502))


async def test_what_is_told_before_its_transaction_is_known_is_not_settled(chat: Chat) -> None:
    """After a broken stream members would get a message a second time, on the same connection."""
    chat.write("theirs")
    chat.messenger_db.write(append_commit, [MessagesAppended(chat.chat_id, 1, 1, 1)])
    chat.write("theirs too")
    # Of another writer, so that its transaction comes first
    chat.followed.note(Position(2, 1))
    delivery = Delivery(chat.followed, Position(2, 1))
    chat.ordering.deliver_until(chat.cached, 2, 2, delivery)
    delivery.finish_part()
    await chat.ordering.stop()
    assert chat.delivered == [1, 2]
    assert chat.followed.vector == {2: 1}
    assert not chat.followed.settled
    chat.receive(1)
    assert chat.followed.settled
    assert chat.delivered == [1, 2]
