"""One replica: what use cases and gateways ask of it, and what they are told."""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from sqlalchemy import delete, text, update

from palaver.contracts.errors import NOT_FOUND, RATE_LIMITED, RESTARTING, UNAVAILABLE, PalaverError
from palaver.contracts.ids import new_id
from palaver.messenger.bootstrap import TYPINGS_BURST
from palaver.messenger.events import MembersChanged, MessageChanged, ReceiptMoved
from palaver.messenger.store.chats import remove_member
from palaver.messenger.store.commit_log import read_after, read_newest
from palaver.messenger.store.schema import chats, messages
from palaver.runtime.fair_turns import MOST_OF_ONE
from palaver.runtime.requester import work_for
from tests.harness.gateway_stream import gateway_stream
from tests.harness.messenger_database import MessengerDatabase
from tests.harness.realtime import Cluster, Replica, running_replica
from tests.harness.waiting import eventually

ALICE, BOB, CAROL = new_id(), new_id(), new_id()


@pytest_asyncio.fixture
async def replica(messenger_db: MessengerDatabase) -> AsyncIterator[Replica]:
    """A replica without limits of rates."""
    async with running_replica(messenger_db) as replica:
        yield replica


@pytest.fixture
def chat_id(messenger_db: MessengerDatabase) -> bytes:
    """A group of Alice and Bob."""
    return messenger_db.group([ALICE, BOB])


async def send(replica: Replica, chat_id: bytes, *texts: str, sender: bytes = ALICE) -> list[int]:
    """The seqs of messages that are stored by a call."""
    sent = await replica.engine.send(chat_id, sender, [new_id() for _ in texts], texts, retry=False)
    return [message.seq for message in sent]


async def refused(work: "asyncio.Future[object] | asyncio.Task[object]") -> PalaverError:
    """The error that it ends with."""
    with pytest.raises(PalaverError) as error:
        await work
    return error.value


async def test_a_call_returns_what_is_stored_and_members_are_told(
    messenger_db: MessengerDatabase, replica: Replica, chat_id: bytes
) -> None:
    """REST's senders would not know whether they were heard, and would not be."""
    async with gateway_stream(replica, messenger_db.keys) as gateway:
        bob = await gateway.open(BOB)
        assert await send(replica, chat_id, "a", "b") == [1, 2]
        await eventually(lambda: gateway.seqs(bob) == [1, 2], "told")
        assert [list(one.texts) for one in gateway.deliveries_to(bob)] == [["a", "b"]]


async def test_a_client_id_named_twice_is_told_once(
    messenger_db: MessengerDatabase, replica: Replica, chat_id: bytes
) -> None:
    """A careless client of REST would break the streams of all its readers' gateways."""
    async with gateway_stream(replica, messenger_db.keys) as gateway:
        bob = await gateway.open(BOB)
        twice = new_id()
        sent = await replica.engine.send(chat_id, ALICE, [twice, twice], ["a", "a"], retry=False)
        assert [message.seq for message in sent] == [1, 1]
        await eventually(lambda: gateway.deliveries_to(bob), "told")
        (one,) = gateway.deliveries_to(bob)
        assert (list(one.client_ids), list(one.texts), len(one.ids)) == ([twice], ["a"], 1)


async def test_an_outsider_who_gives_up_harms_nobody(
    messenger_db: MessengerDatabase, replica: Replica, chat_id: bytes
) -> None:
    """One cancelled request would end all reading of chats, and so the service."""
    call = asyncio.create_task(replica.engine.send(chat_id, CAROL, [new_id()], ["a"], retry=False))
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.wait([call])
    other = messenger_db.group([CAROL])
    async with asyncio.timeout(5):
        assert await send(replica, chat_id, "a") == [1]
        assert await send(replica, other, "b", sender=CAROL) == [1]


async def test_what_a_removed_member_had_waiting_is_refused(
    messenger_db: MessengerDatabase, replica: Replica, chat_id: bytes
) -> None:
    """Somebody who was thrown out would get in their last hundred words (promise P5)."""
    await send(replica, chat_id, "before", sender=BOB)
    calls = []
    for number in range(30):
        if number == 10:
            # Through another replica, which this one has not heard of yet
            messenger_db.write(remove_member, chat_id, ALICE, BOB)
        for sender in (BOB, ALICE):
            work = replica.engine.send(chat_id, sender, [new_id()], [f"{number}"], retry=False)
            calls.append((sender, asyncio.create_task(work)))
        await asyncio.sleep(0)
    results = await asyncio.gather(*(call for _, call in calls), return_exceptions=True)
    end = messenger_db.write(
        lambda c: c.execute(text("SELECT left_seq FROM members WHERE left_seq IS NOT NULL")).scalar()
    )
    assert all(message.seq <= end for message in messenger_db.history(chat_id) if message.sender_id == BOB)
    for (sender, _), result in zip(calls, results, strict=True):
        if isinstance(result, BaseException):
            assert isinstance(result, PalaverError)
            assert (sender, result.kind) == (BOB, NOT_FOUND)
    assert sum(message.sender_id == ALICE for message in messenger_db.history(chat_id)) == 30


async def test_changes_are_told(messenger_db: MessengerDatabase, replica: Replica, chat_id: bytes) -> None:
    """An edited message would stay on screens as it was."""
    async with gateway_stream(replica, messenger_db.keys) as gateway:
        bob = await gateway.open(BOB)
        await send(replica, chat_id, "a")
        edited = await replica.use_cases.edit_message(ALICE, chat_id, 1, "b")
        await eventually(lambda: len(gateway.deliveries_to(bob)) == 2, "told")
        changed = gateway.deliveries_to(bob)[1]
        assert (changed.changed, changed.first_seq, list(changed.texts)) == (True, 1, ["b"])
        assert changed.edited_at == edited.edited_at > 0


async def test_receipts_are_answered_when_they_are_stored(
    messenger_db: MessengerDatabase, replica: Replica, chat_id: bytes
) -> None:
    """A client would think that something is read which is not, or that its chat is gone."""
    await send(replica, chat_id, "a", "b")
    assert (await replica.engine.set_receipt(chat_id, BOB, 0, 1)).read_seq == 1
    receipts = await asyncio.gather(*(replica.engine.set_receipt(chat_id, BOB, 0, seq) for seq in (1, 2, 9)))
    assert {(receipt.received_seq, receipt.read_seq) for receipt in receipts} == {(2, 2)}
    outsider = asyncio.ensure_future(replica.engine.set_receipt(chat_id, CAROL, 0, 1))
    assert (await refused(outsider)).kind is NOT_FOUND
    messenger_db.write(lambda c: c.execute(text("ALTER TABLE members RENAME TO away")))
    lost = asyncio.ensure_future(replica.engine.set_receipt(chat_id, BOB, 0, 1))
    assert (await refused(lost)).kind is UNAVAILABLE
    messenger_db.write(lambda c: c.execute(text("ALTER TABLE away RENAME TO members")))


async def test_a_receipt_that_comes_during_a_write_is_answered_by_its_own(
    messenger_db: MessengerDatabase, replica: Replica, chat_id: bytes
) -> None:
    """A gateway would forget a receipt that is not on disk yet, and a kill would lose it; and a caller would
    get an older receipt than it has just set."""
    await send(replica, chat_id, "a", "b")
    holding = sqlite3.connect(messenger_db.file, isolation_level=None)
    holding.execute("BEGIN IMMEDIATE")
    first = asyncio.create_task(replica.engine.set_receipt(chat_id, BOB, 1, 1))
    await asyncio.sleep(0.05)
    second = asyncio.create_task(replica.engine.set_receipt(chat_id, BOB, 2, 2))
    await asyncio.sleep(0.05)
    holding.execute("ROLLBACK")
    holding.close()
    assert ((await first).read_seq, (await second).read_seq) == (1, 2)


async def test_a_gateways_receipt_is_written_once_the_disk_is_back(
    messenger_db: MessengerDatabase,
    replica: Replica,
    chat_id: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was read in a bad moment would stay unread for others until the gateway's stream breaks; and after
    20,000 such receipts the gateway would refuse all others."""
    monkeypatch.setattr("palaver.messenger.realtime.receipt_waiters.RETRY_SECONDS", 0.1)
    await send(replica, chat_id, "a")
    async with gateway_stream(replica, messenger_db.keys) as gateway:
        bob = await gateway.open(BOB)
        await asyncio.sleep(0.05)
        messenger_db.write(lambda c: c.execute(text("ALTER TABLE members RENAME TO away")))
        gateway.write(
            receipts=[{"socket": bob, "chat_id": chat_id, "received_seq": 1, "read_seq": 1, "number": 7}]
        )
        await asyncio.sleep(0.05)
        assert gateway.all("stored_receipts") == []
        messenger_db.write(lambda c: c.execute(text("ALTER TABLE away RENAME TO members")))
        await eventually(lambda: gateway.all("stored_receipts") == [7], "stored")


async def test_deliveries_to_old_clients_become_receipts(
    messenger_db: MessengerDatabase, replica: Replica, chat_id: bytes
) -> None:
    """Messages to old clients would never count as received."""
    async with gateway_stream(replica, messenger_db.keys) as gateway:
        await gateway.open(BOB, implicit=True)
        await send(replica, chat_id, "a")
        received = "SELECT received_seq FROM members WHERE user_id = :user"
        await eventually(
            lambda: messenger_db.write(lambda c: c.execute(text(received), {"user": BOB}).scalar()) == 1,
            "received",
        )


async def test_who_writes_too_fast_is_told_when_to_go_on(
    messenger_db: MessengerDatabase, chat_id: bytes
) -> None:
    """One user could keep the disk busy for all (promise P7)."""
    async with running_replica(
        messenger_db, rates=True, messages_per_second=10, messages_burst=20
    ) as replica:
        await send(replica, chat_id, *("text" for _ in range(20)))
        error = await refused(asyncio.ensure_future(send(replica, chat_id, "one more")))
        assert error.kind is RATE_LIMITED
        assert 0 < error.retry_after <= 0.1
        assert await send(replica, chat_id, "somebody else's", sender=BOB) == [21]


async def test_what_a_gateway_sends_again_is_not_counted_twice(
    messenger_db: MessengerDatabase, chat_id: bytes
) -> None:
    """Busy senders would lose messages when a gateway's stream breaks."""
    async with (
        running_replica(messenger_db, rates=True, messages_per_second=0.1, messages_burst=3) as replica,
        gateway_stream(replica, messenger_db.keys) as gateway,
    ):
        alice = await gateway.open(ALICE)
        sent = [gateway.send(alice, chat_id, "text", request=request) for request in (1, 2)]
        await eventually(lambda: len(gateway.all("deliveries")) == 2, "stored")
        for request in range(3, 9):
            gateway.send(alice, chat_id, "text", request=request, client_ids=sent[request % 2], retry=True)
        await eventually(lambda: len(gateway.all("sent")) == 6, "answered")
        assert {one.error.code for one in gateway.all("sent")} == {""}
        assert {one.seqs[0] for one in gateway.all("sent")} == {1, 2}
        gateway.send(alice, chat_id, "new", request=9)
        await eventually(lambda: len(gateway.all("deliveries")) == 3, "stored")


async def test_a_message_that_is_said_to_come_again_is_counted_where_it_is_new(
    messenger_db: MessengerDatabase, chat_id: bytes
) -> None:
    """A gateway that says so of everything would let its users send without any limit (promise P7)."""
    async with (
        running_replica(messenger_db, rates=True, messages_per_second=0.001, messages_burst=2) as replica,
        gateway_stream(replica, messenger_db.keys) as gateway,
    ):
        alice, bob = await gateway.open(ALICE), await gateway.open(BOB)
        for request in range(1, 6):
            gateway.send(alice, chat_id, f"{request}", request=request, retry=True)
        gateway.send(bob, chat_id, "bob's", request=6, retry=True)
        await eventually(lambda: len(gateway.all("sent")) == 3, "refused")
        refusals = gateway.all("sent")
        assert [(one.request, one.error.code) for one in refusals] == [(n, "rate_limited") for n in (3, 4, 5)]
        assert all(one.error.retry_after > 0 for one in refusals)
        await eventually(lambda: len(messenger_db.history(chat_id)) == 3, "stored")
        assert {message.text for message in messenger_db.history(chat_id)} == {"1", "2", "bob's"}


async def test_edits_of_one_user_keep_no_message_of_others_waiting(replica: Replica, chat_id: bytes) -> None:
    """A user who edits a hundred messages would make everybody wait for a hundred syncs of the disk."""
    await send(replica, chat_id, "a")
    edited = 0

    async def edit(number: int) -> None:
        nonlocal edited
        work_for(ALICE)
        await replica.use_cases.edit_message(ALICE, chat_id, 1, f"{number}")
        edited += 1

    edits = [asyncio.create_task(edit(number)) for number in range(MOST_OF_ONE)]
    await eventually(lambda: edited > 0, "the edits have begun")
    before = edited
    for _ in range(5):
        await send(replica, chat_id, "b", sender=BOB)
    assert edited - before <= 20
    await asyncio.gather(*edits)


async def test_what_all_wait_for_is_not_read_in_one_users_turn(replica: Replica, chat_id: bytes) -> None:
    """Of one user with too many requests everybody's sends would be refused."""
    go_on = threading.Event()

    async def read() -> None:
        work_for(ALICE)
        await replica.store.database.read(lambda _: go_on.wait(20))

    reads = [asyncio.create_task(read()) for _ in range(MOST_OF_ONE + 2)]
    await asyncio.sleep(0.05)

    async def send_as_alice() -> list[int]:
        work_for(ALICE)
        return await send(replica, chat_id, "a")

    # The chat is not in memory: both wait for the one read that Alice's send begins
    sends = [
        asyncio.create_task(send_as_alice()),
        asyncio.create_task(send(replica, chat_id, "b", sender=BOB)),
    ]
    await asyncio.sleep(0.05)
    go_on.set()
    assert sorted(await asyncio.gather(*sends)) == [[1], [2]]
    await asyncio.gather(*reads)


async def test_receipts_of_one_user_are_merged(messenger_db: MessengerDatabase, chat_id: bytes) -> None:
    """One member who moves a receipt without end would keep all members' devices busy with it."""
    async with (
        running_replica(messenger_db, rates=True, receipts_per_second=0.001, receipts_burst=2) as replica,
        gateway_stream(replica, messenger_db.keys) as gateway,
    ):
        await gateway.open(BOB)
        await send(replica, chat_id, *("text" for _ in range(20)), sender=BOB)
        stored = [await replica.engine.set_receipt(chat_id, ALICE, 0, seq) for seq in (1, 2)]
        merged = [replica.engine.set_receipt(chat_id, ALICE, 0, seq) for seq in range(3, 20)]
        stored += await asyncio.gather(*merged)
        assert [one.read_seq for one in stored] == [1, 2, *[19] * 17]
        await eventually(lambda: any(one.read_seq == 19 for one in gateway.all("receipts")), "delivered")
        assert [one.read_seq for one in gateway.all("receipts") if one.user_id == ALICE] == [1, 2, 19]


async def test_typing_of_one_user_is_limited(messenger_db: MessengerDatabase, chat_id: bytes) -> None:
    """A gateway that lets everything through would let one user keep a thousand members' devices busy."""
    async with (
        running_replica(messenger_db, rates=True) as replica,
        gateway_stream(replica, messenger_db.keys) as gateway,
    ):
        await gateway.open(BOB)
        await send(replica, chat_id, "so that the members are known")
        for _ in range(TYPINGS_BURST * 2):
            replica.engine.publish_typing(chat_id, ALICE)
        replica.engine.publish_typing(chat_id, BOB)
        await send(replica, chat_id, "behind them")
        await eventually(lambda: len(gateway.all("deliveries")) == 2, "delivered")
        assert len(gateway.all("typings")) == TYPINGS_BURST


async def test_a_stop_answers_what_waits_and_sends_gateways_away(
    messenger_db: MessengerDatabase, chat_id: bytes
) -> None:
    """Each update would lose acknowledgements, and keep gateways waiting at a door that is closed."""
    async with contextlib.AsyncExitStack() as stack:
        running = contextlib.AsyncExitStack()
        replica = await running.enter_async_context(running_replica(messenger_db))
        gateway = await stack.enter_async_context(gateway_stream(replica, messenger_db.keys))
        alice = await gateway.open(ALICE)
        for request in range(1, 21):
            gateway.send(alice, chat_id, f"{request}", request=request)
        await eventually(lambda: replica.engine.memberships.get(chat_id) is not None, "the sends")
        await running.aclose()
        await eventually(lambda: gateway.ended, "the end of the stream")
        stored = {one.request for one in gateway.all("deliveries")}
        restarting = {one.request for one in gateway.all("sent") if one.error.code == RESTARTING.code}
        assert stored
        assert stored | restarting == set(range(1, 21))
        assert len(messenger_db.history(chat_id)) == len(stored)
        late = await stack.enter_async_context(gateway_stream(replica, messenger_db.keys))
        await eventually(lambda: late.ended, "the end of the late stream")
        late_call = asyncio.ensure_future(send(replica, chat_id, "late"))
        assert (await refused(late_call)).kind is RESTARTING


async def test_a_socket_that_opens_during_a_write_counts_as_open_before_it(
    messenger_db: MessengerDatabase, replica: Replica, chat_id: bytes
) -> None:
    """What it is told first would be taken for older than itself, and be lost with a stream that breaks."""
    await send(replica, chat_id, "before")
    async with gateway_stream(replica, messenger_db.keys) as gateway:
        holding = sqlite3.connect(messenger_db.file, isolation_level=None)
        holding.execute("BEGIN IMMEDIATE")
        sending = asyncio.create_task(send(replica, chat_id, "during"))
        await asyncio.sleep(0.01)
        bob = await gateway.open(BOB)
        holding.execute("ROLLBACK")
        holding.close()
        await sending
        await eventually(lambda: gateway.seqs(bob) == [2], "delivered")
        (opened,) = gateway.all("opened")
        after = {position.writer: position.number for position in opened.opened_after}
        # What a gateway asks for that lost its stream right after that
        (commit, *_) = messenger_db.write(read_after, after, 10)
        (entry,) = commit.entries
        assert (entry.first_seq, entry.last_seq) == (2, 2)


async def test_one_send_that_fails_fails_no_other(messenger_db: MessengerDatabase, replica: Replica) -> None:
    """One damaged chat would keep everybody from writing."""
    damaged, whole = messenger_db.group([ALICE, BOB]), [messenger_db.group([ALICE, BOB]) for _ in range(3)]
    await send(replica, damaged, "a", "b")
    for chat_id in whole:
        await send(replica, chat_id, "before")
    # Its next message gets a seq that is taken
    messenger_db.write(lambda c: c.execute(update(chats).where(chats.c.id == damaged).values(last_seq=1)))
    async with gateway_stream(replica, messenger_db.keys) as gateway:
        alice, bob = await gateway.open(ALICE), await gateway.open(BOB)
        asked = [
            {
                "socket": alice,
                "request": request,
                "chat_id": chat_id,
                "client_ids": [new_id()],
                "texts": [f"{request}"],
            }
            for request, chat_id in enumerate([whole[0], damaged, whole[1], whole[2], whole[0]], start=1)
        ]
        # One batch of the stream is one of the journal
        gateway.write(sends=asked)
        await eventually(lambda: len(gateway.deliveries_to(bob)) == 4 and gateway.all("sent"), "answers")
        (refused,) = gateway.all("sent")
        assert (refused.request, refused.error.code) == (2, "internal")
        stored = [one.request for one in gateway.all("deliveries") if one.request]
        assert stored == [1, 3, 4, 5]
    for chat_id, texts in zip(whole, (["1", "5"], ["3"], ["4"]), strict=True):
        assert [message.text for message in messenger_db.history(chat_id)] == ["before", *texts]
    assert [message.text for message in messenger_db.history(damaged)] == ["a", "b"]


async def test_a_repeated_send_is_answered_when_its_message_is_gone(
    messenger_db: MessengerDatabase, replica: Replica, chat_id: bytes
) -> None:
    """A client that comes back late would write a message again that was moved to an archive since."""
    client_id = new_id()
    (first,) = await replica.engine.send(chat_id, ALICE, [client_id], ["a"], retry=False)
    messenger_db.write(lambda c: c.execute(delete(messages)))
    (again,) = await replica.engine.send(chat_id, ALICE, [client_id], ["a"], retry=True)
    assert again == first
    (sent,) = await replica.use_cases.send_messages(ALICE, chat_id, [client_id], ["a"], retry=True)
    assert (sent.seq, sent.id, sent.created_at) == first
    assert messenger_db.history(chat_id) == []


async def test_a_change_goes_on_where_its_caller_gave_up(
    messenger_db: MessengerDatabase, replica: Replica, chat_id: bytes
) -> None:
    """Members would never learn of an edit whose sender lost the connection too early."""
    await send(replica, chat_id, "a")
    async with gateway_stream(replica, messenger_db.keys) as gateway:
        bob = await gateway.open(BOB)
        call = asyncio.create_task(replica.use_cases.edit_message(ALICE, chat_id, 1, "b"))
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call])
        await eventually(lambda: [one.changed for one in gateway.deliveries_to(bob)] == [True], "delivered")


async def test_a_change_and_its_entry_of_the_log_are_there_both_or_neither(
    messenger_db: MessengerDatabase, replica: Replica, chat_id: bytes
) -> None:
    """Gateways that were cut off would never learn of a change, or of one that never was."""
    await send(replica, chat_id, "a")
    before = messenger_db.write(read_newest)
    with pytest.raises(PalaverError):
        await replica.use_cases.edit_message(BOB, chat_id, 1, "b")
    assert messenger_db.write(read_newest) == before
    await replica.use_cases.edit_message(ALICE, chat_id, 1, "b")
    await replica.use_cases.delete_message(ALICE, chat_id, 1)
    await replica.use_cases.delete_message(ALICE, chat_id, 1)
    await replica.use_cases.set_receipt(BOB, chat_id, 1, 1)
    await replica.use_cases.remove_member(BOB, chat_id, BOB)
    entries = [entry for commit in messenger_db.write(read_after, before, 10) for entry in commit.entries]
    assert entries == [
        MessageChanged(chat_id, 1),
        MessageChanged(chat_id, 1),
        ReceiptMoved(chat_id, BOB, 1, 1),
        MembersChanged(chat_id, (BOB,)),
    ]
    assert replica.engine.followed.vector == messenger_db.write(read_newest)
    assert replica.engine.followed.settled


async def test_a_batch_that_cannot_be_published_is_delivered_from_the_log(
    messenger_db: MessengerDatabase, chat_id: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Positions would stand still from then on: each gateway that comes back would be sent everything since,
    and once the log is trimmed, all of its sockets would be closed."""
    monkeypatch.setattr("palaver.messenger.realtime.bus.LocalBus.look_seconds", 0.02)
    monkeypatch.setattr("palaver.messenger.realtime.bus.InProcessBus.look_seconds", 0.02)
    cluster = Cluster()
    publish = cluster.bus.publish
    async with (
        running_replica(messenger_db, cluster) as replica,
        gateway_stream(replica, messenger_db.keys) as gateway,
    ):
        alice = await gateway.open(ALICE)
        await send(replica, chat_id, "a")

        def fail(*_: object) -> None:
            monkeypatch.setattr(cluster.bus, "publish", publish)
            raise OSError("the bus is away")

        monkeypatch.setattr(cluster.bus, "publish", fail)
        await replica.engine.set_receipt(chat_id, BOB, 1, 1)
        await eventually(lambda: gateway.all("receipts"), "delivered from the log")
        assert [list(one.sockets) for one in gateway.all("receipts")] == [[alice]]
        await eventually(lambda: replica.engine.followed.settled, "followed")


async def test_a_refused_send_keeps_nothing_waiting(
    messenger_db: MessengerDatabase, replica: Replica, chat_id: bytes
) -> None:
    """A message that another replica has stored with its client id would wait for its outcome for ever, and
    so would all that comes behind it in the chat."""
    await send(replica, chat_id, "a")
    # Through another replica, which this one has not heard of yet
    messenger_db.write(remove_member, chat_id, ALICE, BOB)
    late = asyncio.ensure_future(send(replica, chat_id, "late", sender=BOB))
    assert (await refused(late)).kind is NOT_FOUND
    chat = replica.engine.memberships.get(chat_id)
    assert chat is not None
    assert (chat.pending, chat.delivery.unsettled) == (0, set())
