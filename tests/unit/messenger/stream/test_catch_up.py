"""What a gateway missed while its stream was broken, through a replica's stream."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from sqlalchemy import Connection, insert, select, text

from palaver.contracts.ids import new_id
from palaver.contracts.times import now_us
from palaver.messenger.events import MessageChanged, MessagesAppended, Position, encode_entries
from palaver.messenger.realtime.followed import Delivery
from palaver.messenger.store.commit_log import append_commit, read_newest, trim_log
from palaver.messenger.store.messages import STREAM_MESSAGES
from palaver.messenger.store.schema import chats, commit_log
from palaver.messenger.stream import catch_up as module
from palaver.messenger.use_cases import add_members
from tests.harness.gateway_stream import GatewayStream, gateway_stream
from tests.harness.journal_rows import write_messages
from tests.harness.messenger_database import MessengerDatabase
from tests.harness.realtime import Cluster, Replica, running_replica
from tests.harness.waiting import eventually

ALICE, BOB, CAROL = new_id(), new_id(), new_id()


@pytest_asyncio.fixture
async def replica(messenger_db: MessengerDatabase) -> AsyncIterator[Replica]:
    """A replica."""
    async with running_replica(messenger_db) as replica:
        yield replica


@pytest.fixture
def chat_id(messenger_db: MessengerDatabase) -> bytes:
    """A group of Alice and Bob."""
    return messenger_db.group([ALICE, BOB])


async def say(replica: Replica, chat_id: bytes, *texts: str, sender: bytes = ALICE) -> None:
    """Stores messages."""
    await replica.engine.send(chat_id, sender, [new_id() for _ in texts], texts, retry=False)


def stood(messenger_db: MessengerDatabase) -> dict[int, int]:
    """What a gateway has followed that lost its stream just now."""
    newest: dict[int, int] = messenger_db.write(read_newest)
    return newest


def again(*users: bytes) -> list[tuple[int, bytes, int]]:
    """Sockets 1, 2 … of users, open since before the stream broke."""
    return [(number, user_id, now_us()) for number, user_id in enumerate(users, start=1)]


def write_logged(connection: Connection, chat_id: bytes, text: str, now: int) -> None:
    """Writes a message at any time of clocks, with its entry of the commit log."""
    write_messages(connection, chat_id, ALICE, [text], now)
    seq = connection.execute(select(chats.c.last_seq).where(chats.c.id == chat_id)).scalar_one()
    append_commit(connection, [MessagesAppended(chat_id, seq, seq, 1)])


def write_unpublished(connection: Connection, chat_id: bytes) -> None:
    """Writes a chat's second message as a writer of its own, as another replica on MySQL does."""
    write_messages(connection, chat_id, ALICE, ["not published"], now_us())
    entries = encode_entries([MessagesAppended(chat_id, 2, 2, 1)])
    connection.execute(insert(commit_log), {"writer": 2, "number": 1, "entries": entries})


async def caught_up(gateway: GatewayStream, messenger_db: MessengerDatabase) -> None:
    """Waits until the gateway is told that it has everything."""
    await eventually(lambda: gateway.followed == stood(messenger_db), "caught up")


async def test_a_gateway_is_told_what_it_missed_then_what_is_new(
    messenger_db: MessengerDatabase, replica: Replica, chat_id: bytes
) -> None:
    """Open sockets would miss what was said while their gateway was cut off."""
    await say(replica, chat_id, "before")
    followed = stood(messenger_db)
    await say(replica, chat_id, "missed")
    async with gateway_stream(replica, messenger_db.keys, followed=followed, opens=again(BOB)) as gateway:
        await eventually(lambda: gateway.has_caught_up, "caught up")
        await say(replica, chat_id, "new")
        await eventually(lambda: len(gateway.seqs(1)) == 2, "told live")
        assert gateway.seqs(1) == [2, 3]
        # By its position the gateway passes a missed message over for sockets that were opened later
        commits = [(one.commit.writer, one.commit.number) for one in gateway.deliveries_to(1)]
        assert commits == [(1, followed[1] + 1), (0, 0)]


async def test_a_gateway_is_told_what_changed_while_it_was_cut_off(
    messenger_db: MessengerDatabase, replica: Replica, chat_id: bytes
) -> None:
    """Open sockets would show a deleted message until they are opened again."""
    await say(replica, chat_id, "kept", "edited", "deleted")
    other = messenger_db.direct(ALICE, new_id())
    await say(replica, other, "of others")
    followed = stood(messenger_db)
    edited = await replica.use_cases.edit_message(ALICE, chat_id, 2, "better")
    deleted = await replica.use_cases.delete_message(ALICE, chat_id, 3)
    await replica.use_cases.edit_message(ALICE, other, 1, "nobody's business")
    async with gateway_stream(replica, messenger_db.keys, followed=followed, opens=again(BOB)) as gateway:
        await caught_up(gateway, messenger_db)
        told = {one.first_seq: one for one in gateway.deliveries_to(1)}
        assert all(one.changed for one in told.values())
        assert (list(told[2].texts), told[2].edited_at) == (["better"], edited.edited_at)
        assert (list(told[3].texts), told[3].deleted_at) == ([""], deleted.deleted_at)
        assert len(gateway.all("deliveries")) == 2


async def test_receipts_that_moved_meanwhile_are_told(
    messenger_db: MessengerDatabase, replica: Replica, chat_id: bytes
) -> None:
    """Ticks would stay as they were until a chat is opened again."""
    await say(replica, chat_id, "a", "b", "c")
    followed = stood(messenger_db)
    await replica.use_cases.set_receipt(BOB, chat_id, 2, 1)
    await replica.use_cases.set_receipt(BOB, chat_id, 3, 2)
    async with gateway_stream(replica, messenger_db.keys, followed=followed, opens=again(ALICE)) as gateway:
        await caught_up(gateway, messenger_db)
        # The last state is enough
        (receipt,) = gateway.all("receipts")
        assert (receipt.user_id, receipt.received_seq, receipt.read_seq) == (BOB, 3, 2)
        assert (receipt.chat_id, list(receipt.sockets)) == (chat_id, [1])


async def test_who_went_meanwhile_is_told_as_gone(
    messenger_db: MessengerDatabase, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody would be shown as online for ever who left while a stream was broken."""
    monkeypatch.setattr("palaver.messenger.realtime.presence_updates.GONE_SECONDS", 0.01)
    messenger_db.direct(ALICE, BOB)
    async with gateway_stream(replica, messenger_db.keys) as other:
        await other.open(BOB)
        await other.open(ALICE)
        await eventually(lambda: any(one.user_id == BOB for one in other.all("presences")), "online")
        await eventually(lambda: replica.engine.followed.settled, "settled")
        followed = stood(messenger_db)
        other.write(closes=[1])
        await eventually(lambda: stood(messenger_db) != followed, "offline")
    async with gateway_stream(replica, messenger_db.keys, followed=followed, opens=again(ALICE)) as gateway:
        await eventually(lambda: gateway.all("presences"), "told")
        presence = gateway.all("presences")[0]
        assert (presence.user_id, presence.online, list(presence.sockets)) == (BOB, False, [1])


async def test_no_position_is_said_before_a_gateway_has_caught_up(
    messenger_db: MessengerDatabase, replica: Replica, chat_id: bytes
) -> None:
    """Where the stream breaks again, what it has not told yet would never be told."""
    followed = stood(messenger_db)
    await say(replica, chat_id, *("missed" for _ in range(300)))
    async with gateway_stream(replica, messenger_db.keys, followed=followed, opens=again(BOB)) as gateway:
        await caught_up(gateway, messenger_db)
        first = next(index for index, batch in enumerate(gateway.batches) if batch.followed)
        before = [one for batch in gateway.batches[: first + 1] for one in batch.deliveries]
        assert len(before) == 300
        assert not any(batch.settled for batch in gateway.batches[:first])


async def test_a_gateway_that_cannot_be_caught_up_is_sent_away(
    messenger_db: MessengerDatabase, replica: Replica, chat_id: bytes
) -> None:
    """Its sockets would hear nothing more, or never of what they missed."""
    followed = stood(messenger_db)
    await say(replica, chat_id, "missed")
    messenger_db.write(lambda c: c.execute(text("ALTER TABLE messages RENAME TO away")))
    async with gateway_stream(replica, messenger_db.keys, followed=followed, opens=again(BOB)) as gateway:
        await eventually(lambda: gateway.ended, "the end of the stream")
        assert not gateway.has_caught_up
    messenger_db.write(lambda c: c.execute(text("ALTER TABLE away RENAME TO messages")))
    async with gateway_stream(replica, messenger_db.keys, followed=followed, opens=again(BOB)) as gateway:
        await eventually(lambda: gateway.seqs(1) == [1], "caught up")


async def test_a_send_that_was_stored_is_told_before_it_is_acknowledged(
    messenger_db: MessengerDatabase, replica: Replica, chat_id: bytes
) -> None:
    """The gateway could not tell it from somebody else's, and would show it to its own sender."""
    followed = stood(messenger_db)
    client_id = new_id()
    await replica.engine.send(chat_id, ALICE, [client_id], ["sent"], retry=False)
    sent = {
        "socket": 1,
        "request": 9,
        "chat_id": chat_id,
        "client_ids": [client_id],
        "texts": ["sent"],
        "retry": True,
    }
    opens = again(ALICE, BOB)
    async with gateway_stream(
        replica, messenger_db.keys, followed=followed, opens=opens, sends=[sent]
    ) as gateway:
        await eventually(lambda: gateway.all("sent"), "acknowledged")
        (reply,) = gateway.all("sent")
        assert (reply.request, list(reply.seqs)) == (9, [1])
        told = next(index for index, batch in enumerate(gateway.batches) if batch.deliveries)
        acknowledged = next(index for index, batch in enumerate(gateway.batches) if batch.sent)
        assert told <= acknowledged
        assert gateway.seqs(2) == [1]


async def test_sockets_of_former_members_are_told_nothing_new(
    messenger_db: MessengerDatabase, replica: Replica, chat_id: bytes
) -> None:
    """A broken stream would let former members read on (promise P5)."""
    followed = stood(messenger_db)
    await replica.use_cases.remove_member(ALICE, chat_id, BOB)
    await say(replica, chat_id, "missed")
    opens = again(BOB, ALICE)
    async with gateway_stream(replica, messenger_db.keys, followed=followed, opens=opens) as gateway:
        await eventually(lambda: gateway.seqs(2) == [1], "caught up")
        assert gateway.seqs(1) == []


async def test_who_left_by_another_replica_gets_nothing_new(messenger_db: MessengerDatabase) -> None:
    """A gateway that comes back to another replica would let former members read on (promise P5)."""
    group = messenger_db.group([ALICE, BOB])
    cluster = Cluster()
    async with running_replica(messenger_db, cluster) as one, running_replica(messenger_db, cluster) as two:
        # By a call, so that the other replica knows the members, and has no socket in the group
        await say(two, group, "before", sender=BOB)
        await one.use_cases.remove_member(ALICE, group, BOB)
        followed = stood(messenger_db)
        await say(one, group, "not for Bob")
        await one.use_cases.edit_message(ALICE, group, 2, "not for Bob either")
        async with gateway_stream(two, messenger_db.keys, followed=followed, opens=again(BOB)) as gateway:
            await caught_up(gateway, messenger_db)
            assert gateway.deliveries_to(1) == []


async def test_new_members_are_told_what_came_since_they_joined(
    messenger_db: MessengerDatabase, replica: Replica
) -> None:
    """Somebody who was added while their stream was broken would miss their first messages."""
    group = messenger_db.group([ALICE, CAROL])
    await say(replica, group, "before")
    followed = stood(messenger_db)
    await replica.engine.commit(add_members, group, ALICE, [BOB], 10)
    await say(replica, group, "welcome")
    async with gateway_stream(replica, messenger_db.keys, followed=followed, opens=again(BOB)) as gateway:
        await caught_up(gateway, messenger_db)
        assert [(one.chat_id, list(one.texts)) for one in gateway.deliveries_to(1)] == [(group, ["welcome"])]
        await say(replica, group, "and live")
        await eventually(lambda: gateway.seqs(1) == [2, 3], "told live")


async def test_users_who_are_back_at_once_were_never_gone(
    messenger_db: MessengerDatabase, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each broken stream would show everybody as offline, for good."""
    monkeypatch.setattr("palaver.messenger.realtime.presence_updates.GONE_SECONDS", 0.05)
    messenger_db.direct(ALICE, BOB)
    async with gateway_stream(replica, messenger_db.keys) as watching:
        await watching.open(ALICE)
        async with gateway_stream(replica, messenger_db.keys) as gateway:
            await gateway.open(BOB)
            await eventually(lambda: any(one.online for one in watching.all("presences")), "online")
        async with gateway_stream(replica, messenger_db.keys, followed=stood(messenger_db), opens=again(BOB)):
            await asyncio.sleep(0.15)
            assert all(one.online for one in watching.all("presences"))
        await eventually(lambda: not watching.all("presences")[-1].online, "offline")


async def test_only_chats_with_news_are_looked_at_after_a_broken_stream(
    messenger_db: MessengerDatabase, replica: Replica, chat_id: bytes
) -> None:
    """A gateway with many users would wait for its messages until all of their chats are read."""
    quiet = [messenger_db.group([ALICE, BOB]) for _ in range(5)]
    for one in quiet:
        messenger_db.write(write_logged, one, "old", now_us())
    followed = stood(messenger_db)
    replica.engine.followed.begin(followed)
    messenger_db.write(write_logged, chat_id, "new", now_us())
    async with gateway_stream(
        replica, messenger_db.keys, followed=followed, opens=again(ALICE, BOB)
    ) as gateway:
        await eventually(lambda: gateway.seqs(2) == [1], "caught up")
        assert replica.engine.memberships.get(chat_id) is not None
        assert all(replica.engine.memberships.get(one) is None for one in quiet)


async def test_what_came_since_a_position_is_found_over_many_pages(
    messenger_db: MessengerDatabase, replica: Replica, chat_id: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a long break members would get the newest messages, and a hole before them."""
    monkeypatch.setattr(module, "COMMITS_AT_ONCE", 3)
    silent = messenger_db.group([ALICE, BOB])
    await say(replica, silent, "old")
    await say(replica, chat_id, *["old"] * 3)
    followed = stood(messenger_db)
    count = STREAM_MESSAGES * 2
    await say(replica, chat_id, *["new"] * count)
    for number in range(10):
        await say(replica, chat_id, f"{number}")
    async with gateway_stream(replica, messenger_db.keys, followed=followed, opens=again(BOB)) as gateway:
        await caught_up(gateway, messenger_db)
        assert gateway.seqs(1) == list(range(4, count + 14))
        assert {one.chat_id for one in gateway.deliveries_to(1)} == {chat_id}


@pytest.mark.parametrize("wrong_by", [-3_600_000_000, -15_000_000, 0, 3_600_000_000])
async def test_clocks_decide_nothing(
    messenger_db: MessengerDatabase, replica: Replica, chat_id: bytes, wrong_by: int
) -> None:
    """A clock that was set, or a disk that stalled, would hide messages from sockets that were open."""
    messenger_db.write(write_logged, chat_id, "before", now_us())
    followed = stood(messenger_db)
    messenger_db.write(write_logged, chat_id, "missed", now_us() + wrong_by)
    async with gateway_stream(replica, messenger_db.keys, followed=followed, opens=again(BOB)) as gateway:
        await eventually(lambda: gateway.seqs(1) == [2], "caught up")


@pytest.mark.parametrize("trimmed", [True, False])
async def test_who_is_too_far_behind_is_told_to_resume(
    messenger_db: MessengerDatabase, replica: Replica, chat_id: bytes, trimmed: bool
) -> None:
    """Sockets would miss messages, of a log that was trimmed or of a backup, and nobody would know."""
    followed = stood(messenger_db)
    for number in range(3):
        await say(replica, chat_id, f"{number}")
    if trimmed:
        messenger_db.write(trim_log, {1: 2}, 100)
    else:
        followed = {1: 1_000}
    async with gateway_stream(replica, messenger_db.keys, followed=followed, opens=again(BOB)) as gateway:
        await eventually(lambda: any(batch.log_trimmed for batch in gateway.batches), "told so")
        # It goes on live, from where the log is now
        await say(replica, chat_id, "new")
        await eventually(lambda: gateway.seqs(1) == [4], "told live")
        await caught_up(gateway, messenger_db)


async def test_what_a_replica_did_not_know_of_is_not_settled_until_it_comes_live(
    messenger_db: MessengerDatabase,
) -> None:
    """Of a messenger that died before it published, members would get a message twice on one connection."""
    group = messenger_db.group([ALICE, BOB])
    async with running_replica(messenger_db, Cluster()) as replica:
        await say(replica, group, "before")
        followed = stood(messenger_db)
        messenger_db.write(write_unpublished, group)
        async with gateway_stream(replica, messenger_db.keys, followed=followed, opens=again(BOB)) as gateway:
            await eventually(lambda: gateway.seqs(1) == [2, 2], "told from the log, and live")
            times = [index for index, one in enumerate(gateway.batches) for _ in one.deliveries]
            assert not any(batch.settled for batch in gateway.batches[times[0] : times[-1]])
            await eventually(lambda: gateway.batches[-1].settled, "settled")


async def test_what_comes_while_a_gateway_catches_up_is_behind_what_it_missed(
    messenger_db: MessengerDatabase, replica: Replica, chat_id: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Conversations would be shown in another order than they were held (promise P2)."""
    monkeypatch.setattr(module, "COMMITS_AT_ONCE", 2)
    followed = stood(messenger_db)
    for number in range(20):
        await say(replica, chat_id, f"{number}")

    async def talk() -> None:
        for number in range(50):
            await say(replica, chat_id, f"new {number}")

    async with gateway_stream(replica, messenger_db.keys, followed=followed, opens=again(BOB)) as gateway:
        await talk()
        await caught_up(gateway, messenger_db)
        # What is there twice the gateway passes over: first comes first
        assert list(dict.fromkeys(gateway.seqs(1))) == list(range(1, 71))


async def test_a_chat_that_is_gone_stops_nobody(
    messenger_db: MessengerDatabase, replica: Replica, chat_id: bytes
) -> None:
    """One chat that was deleted would keep a gateway from ever catching up."""
    followed = stood(messenger_db)
    messenger_db.write(append_commit, [MessagesAppended(new_id(), 1, 1, 1), MessageChanged(chat_id, 99)])
    messenger_db.write(write_logged, chat_id, "missed", now_us())
    async with gateway_stream(replica, messenger_db.keys, followed=followed, opens=again(BOB)) as gateway:
        await eventually(lambda: gateway.seqs(1) == [1], "caught up")


async def test_a_gateway_that_comes_from_another_replica_gets_nothing_a_second_time(
    messenger_db: MessengerDatabase, chat_id: bytes
) -> None:
    """Clients would show a message twice that one replica had delivered and the next still delivers."""
    cluster = Cluster()
    async with (
        running_replica(messenger_db, cluster) as one,
        running_replica(messenger_db, cluster) as two,
        gateway_stream(two, messenger_db.keys) as other,
    ):
        await other.open(BOB)
        (writer, number), *_ = stood(messenger_db).items()
        position = Position(writer, number + 2)
        # Its delivery by `two` is under way until this test ends it
        await say(one, chat_id, "a")
        two.engine.followed.note(position)
        await say(one, chat_id, "b")
        followed = stood(messenger_db)
        assert followed == {writer: number + 2}
        async with gateway_stream(two, messenger_db.keys, followed=followed, opens=again(BOB)) as moved:
            await asyncio.sleep(0.1)
            two.engine._handler.handle(
                [MessagesAppended(chat_id, 2, 2, 1)], Delivery(two.engine.followed, position)
            )
            await eventually(lambda: moved.has_caught_up, "caught up")
            await say(one, chat_id, "c")
            await eventually(lambda: 3 in moved.seqs(1), "delivered")
            assert moved.seqs(1) == [3]
        assert other.seqs(1) == [1, 2, 3]


async def test_what_the_bus_has_lost_keeps_no_gateway_waiting(
    messenger_db: MessengerDatabase, chat_id: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sockets of a gateway that knows more than its new replica would stand still for ever."""
    monkeypatch.setattr("palaver.messenger.realtime.bus.LocalBus.look_seconds", 0.02)
    monkeypatch.setattr("palaver.messenger.realtime.bus.InProcessBus.look_seconds", 0.02)
    async with (
        running_replica(messenger_db, Cluster()) as one,
        running_replica(messenger_db, Cluster()) as two,
    ):
        await say(one, chat_id, "lost on the way to two")
        followed = stood(messenger_db)
        async with gateway_stream(two, messenger_db.keys, followed=followed, opens=again(BOB)) as moved:
            await eventually(lambda: moved.has_caught_up, "caught up")
            assert moved.seqs(1) == []
