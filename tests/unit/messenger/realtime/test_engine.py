"""One replica: what use cases and gateways ask of it, and what they are told."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from sqlalchemy import text

from palaver.contracts.errors import NOT_FOUND, RATE_LIMITED, RESTARTING, UNAVAILABLE, PalaverError
from palaver.contracts.ids import new_id
from palaver.messenger.realtime.engine import Engine
from palaver.messenger.store.chats import remove_member
from palaver.messenger.store.messages import edit_message
from tests.harness.gateway_stream import gateway_stream
from tests.harness.messenger_database import MessengerDatabase
from tests.harness.realtime import running_engine
from tests.harness.waiting import eventually

ALICE, BOB, CAROL = new_id(), new_id(), new_id()


@pytest_asyncio.fixture
async def engine(messenger_db: MessengerDatabase) -> AsyncIterator[Engine]:
    """A replica without limits of rates."""
    async with running_engine(messenger_db) as engine:
        yield engine


@pytest.fixture
def chat_id(messenger_db: MessengerDatabase) -> bytes:
    """A group of Alice and Bob."""
    return messenger_db.group([ALICE, BOB])


async def send(engine: Engine, chat_id: bytes, *texts: str, sender: bytes = ALICE) -> list[int]:
    """The seqs of messages that are stored by a call."""
    sent = await engine.send(chat_id, sender, [new_id() for _ in texts], texts, retry=False)
    return [message.seq for message in sent]


async def refused(work: "asyncio.Future[object] | asyncio.Task[object]") -> PalaverError:
    """The error that it ends with."""
    with pytest.raises(PalaverError) as error:
        await work
    return error.value


async def test_a_call_returns_what_is_stored_and_members_are_told(
    messenger_db: MessengerDatabase, engine: Engine, chat_id: bytes
) -> None:
    """REST's senders would not know whether they were heard, and would not be."""
    async with gateway_stream(engine, messenger_db.keys) as gateway:
        bob = await gateway.open(BOB)
        assert await send(engine, chat_id, "a", "b") == [1, 2]
        await eventually(lambda: gateway.seqs(bob) == [1, 2], "told")
        assert [list(one.texts) for one in gateway.deliveries_to(bob)] == [["a", "b"]]


async def test_a_client_id_named_twice_is_told_once(
    messenger_db: MessengerDatabase, engine: Engine, chat_id: bytes
) -> None:
    """A careless client of REST would break the streams of all its readers' gateways."""
    async with gateway_stream(engine, messenger_db.keys) as gateway:
        bob = await gateway.open(BOB)
        twice = new_id()
        sent = await engine.send(chat_id, ALICE, [twice, twice], ["a", "a"], retry=False)
        assert [message.seq for message in sent] == [1, 1]
        await eventually(lambda: gateway.deliveries_to(bob), "told")
        (one,) = gateway.deliveries_to(bob)
        assert (list(one.client_ids), list(one.texts), len(one.ids)) == ([twice], ["a"], 1)


async def test_an_outsider_who_gives_up_harms_nobody(
    messenger_db: MessengerDatabase, engine: Engine, chat_id: bytes
) -> None:
    """One cancelled request would end all reading of chats, and so the service."""
    call = asyncio.create_task(engine.send(chat_id, CAROL, [new_id()], ["a"], retry=False))
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.wait([call])
    other = messenger_db.group([CAROL])
    async with asyncio.timeout(5):
        assert await send(engine, chat_id, "a") == [1]
        assert await send(engine, other, "b", sender=CAROL) == [1]


async def test_what_a_removed_member_had_waiting_is_refused(
    messenger_db: MessengerDatabase, engine: Engine, chat_id: bytes
) -> None:
    """Somebody who was thrown out would get in their last hundred words (promise P5)."""
    await send(engine, chat_id, "before", sender=BOB)
    calls = []
    for number in range(30):
        if number == 10:
            messenger_db.write(remove_member, chat_id, ALICE, BOB)
            engine.forget_chat(chat_id)
        for sender in (BOB, ALICE):
            work = engine.send(chat_id, sender, [new_id()], [f"{number}"], retry=False)
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


async def test_changes_are_told(messenger_db: MessengerDatabase, engine: Engine, chat_id: bytes) -> None:
    """An edited message would stay on screens as it was."""
    async with gateway_stream(engine, messenger_db.keys) as gateway:
        bob = await gateway.open(BOB)
        await send(engine, chat_id, "a")
        engine.tell_changed(messenger_db.write(edit_message, chat_id, ALICE, 1, "b", 2**51))
        await eventually(lambda: len(gateway.deliveries_to(bob)) == 2, "told")
        changed = gateway.deliveries_to(bob)[1]
        assert (changed.changed, changed.first_seq, list(changed.texts)) == (True, 1, ["b"])
        assert changed.edited_at == 2**51


async def test_receipts_are_answered_when_they_are_stored(
    messenger_db: MessengerDatabase, engine: Engine, chat_id: bytes
) -> None:
    """A client would think that something is read which is not, or that its chat is gone."""
    await send(engine, chat_id, "a", "b")
    assert (await engine.set_receipt(chat_id, BOB, 0, 1)).read_seq == 1
    receipts = await asyncio.gather(*(engine.set_receipt(chat_id, BOB, 0, seq) for seq in (1, 2, 9)))
    assert {(receipt.received_seq, receipt.read_seq) for receipt in receipts} == {(2, 2)}
    outsider = asyncio.ensure_future(engine.set_receipt(chat_id, CAROL, 0, 1))
    assert (await refused(outsider)).kind is NOT_FOUND
    messenger_db.write(lambda c: c.execute(text("ALTER TABLE members RENAME TO away")))
    lost = asyncio.ensure_future(engine.set_receipt(chat_id, BOB, 0, 1))
    assert (await refused(lost)).kind is UNAVAILABLE
    messenger_db.write(lambda c: c.execute(text("ALTER TABLE away RENAME TO members")))


async def test_deliveries_to_old_clients_become_receipts(
    messenger_db: MessengerDatabase, engine: Engine, chat_id: bytes
) -> None:
    """Messages to old clients would never count as received."""
    async with gateway_stream(engine, messenger_db.keys) as gateway:
        await gateway.open(BOB, implicit=True)
        await send(engine, chat_id, "a")
        received = "SELECT received_seq FROM members WHERE user_id = :user"
        await eventually(
            lambda: messenger_db.write(lambda c: c.execute(text(received), {"user": BOB}).scalar()) == 1,
            "received",
        )


async def test_who_writes_too_fast_is_told_when_to_go_on(
    messenger_db: MessengerDatabase, chat_id: bytes
) -> None:
    """One user could keep the disk busy for all (promise P7)."""
    async with running_engine(messenger_db, rates=True, messages_per_second=10, messages_burst=20) as engine:
        await send(engine, chat_id, *("text" for _ in range(20)))
        error = await refused(asyncio.ensure_future(send(engine, chat_id, "one more")))
        assert error.kind is RATE_LIMITED
        assert 0 < error.retry_after <= 0.1
        assert await send(engine, chat_id, "somebody else's", sender=BOB) == [21]


async def test_what_a_gateway_sends_again_was_counted_before(
    messenger_db: MessengerDatabase, chat_id: bytes
) -> None:
    """Busy senders would lose messages when the messenger restarts."""
    async with (
        running_engine(messenger_db, rates=True, messages_per_second=0.1, messages_burst=2) as engine,
        gateway_stream(engine, messenger_db.keys) as gateway,
    ):
        alice = await gateway.open(ALICE)
        for request in range(1, 6):
            gateway.send(alice, chat_id, "again", request=request, retry=True)
        await eventually(lambda: len(gateway.all("deliveries")) == 5, "stored")
        for request in range(6, 9):
            gateway.send(alice, chat_id, "new", request=request)
        await eventually(lambda: gateway.all("sent"), "refused")
        assert [(one.request, one.error.code) for one in gateway.all("sent")] == [(8, "rate_limited")]


async def test_a_stop_answers_what_waits_and_sends_gateways_away(
    messenger_db: MessengerDatabase, chat_id: bytes
) -> None:
    """Each update would lose acknowledgements, and keep gateways waiting at a door that is closed."""
    async with contextlib.AsyncExitStack() as stack:
        running = contextlib.AsyncExitStack()
        engine = await running.enter_async_context(running_engine(messenger_db))
        gateway = await stack.enter_async_context(gateway_stream(engine, messenger_db.keys))
        alice = await gateway.open(ALICE)
        for request in range(1, 21):
            gateway.send(alice, chat_id, f"{request}", request=request)
        await eventually(lambda: engine.audiences.get(chat_id) is not None, "the sends")
        await running.aclose()
        await eventually(lambda: gateway.ended, "the end of the stream")
        stored = {one.request for one in gateway.all("deliveries")}
        restarting = {one.request for one in gateway.all("sent") if one.error.code == RESTARTING.code}
        assert stored
        assert stored | restarting == set(range(1, 21))
        assert len(messenger_db.history(chat_id)) == len(stored)
        late = await stack.enter_async_context(gateway_stream(engine, messenger_db.keys))
        await eventually(lambda: late.ended, "the end of the late stream")
        late_call = asyncio.ensure_future(send(engine, chat_id, "late"))
        assert (await refused(late_call)).kind is RESTARTING
