"""Resume: one socket's, and a gateway's after a broken stream, through a replica's stream."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import text

from palaver.contracts.ids import new_id
from palaver.contracts.times import now_us
from palaver.messenger.realtime.engine import Engine
from palaver.messenger.store import missed
from palaver.messenger.store.chats import add_members, remove_member
from palaver.messenger.store.messages import delete_message, edit_message
from palaver.messenger.stream import resume as module
from tests.harness.gateway_stream import GatewayStream, gateway_stream
from tests.harness.messenger_database import MessengerDatabase
from tests.harness.realtime import running_engine
from tests.harness.waiting import eventually

ALICE, BOB, CAROL = new_id(), new_id(), new_id()


@pytest_asyncio.fixture
async def engine(messenger_db: MessengerDatabase) -> AsyncIterator[Engine]:
    """A replica."""
    async with running_engine(messenger_db) as engine:
        yield engine


@pytest.fixture
def chat_id(messenger_db: MessengerDatabase) -> bytes:
    """A group of Alice and Bob."""
    return messenger_db.group([ALICE, BOB])


async def say(engine: Engine, chat_id: bytes, *texts: str, sender: bytes = ALICE) -> None:
    """Stores messages."""
    await engine.send(chat_id, sender, [new_id() for _ in texts], texts, retry=False)


async def resume(gateway: GatewayStream, socket: int, cursors: dict[bytes, int]) -> None:
    """Asks for a resume, and waits for its end, taking every page."""
    ends = gateway.all("resumed").count(socket)
    gateway.write(
        resumes=[{"socket": socket, "chat_ids": list(cursors), "after_seqs": list(cursors.values())}]
    )
    taken = gateway.all("paused").count(socket)
    while gateway.all("resumed").count(socket) == ends:
        if gateway.all("paused").count(socket) > taken:
            taken += 1
            gateway.write(drained=[socket])
        await asyncio.sleep(0.001)


# ---- one socket ----


async def test_what_came_behind_the_cursors_is_told_then_the_end(
    messenger_db: MessengerDatabase, engine: Engine, chat_id: bytes
) -> None:
    """A client that comes back would miss messages, or all history come at once (promise P3)."""
    other = messenger_db.direct(ALICE, BOB)
    await say(engine, chat_id, "a", "b", "c")
    await say(engine, other, "d")
    async with gateway_stream(engine, messenger_db.keys) as gateway:
        bob = await gateway.open(BOB)
        await resume(gateway, bob, {chat_id: 1, other: 0})
        told = [(one.chat_id, one.first_seq, list(one.texts)) for one in gateway.deliveries_to(bob)]
        assert told == [(chat_id, 2, ["b"]), (chat_id, 3, ["c"]), (other, 1, ["d"])]
        assert all(one.resumed for one in gateway.deliveries_to(bob))


async def test_a_long_resume_waits_for_its_reader_page_by_page(
    messenger_db: MessengerDatabase, engine: Engine, chat_id: bytes
) -> None:
    """A client that was away for long would be sent everything at once, and be cut as a slow reader."""
    count = missed.PAGE_MESSAGES * 2 + 5
    await say(engine, chat_id, *("text" for _ in range(count)))
    async with gateway_stream(engine, messenger_db.keys) as gateway:
        bob = await gateway.open(BOB)
        gateway.write(resumes=[{"socket": bob, "chat_ids": [chat_id], "after_seqs": [0]}])
        await eventually(lambda: gateway.all("paused"), "the first page")
        await asyncio.sleep(0.02)
        assert gateway.seqs(bob) == list(range(1, missed.PAGE_MESSAGES + 1))
        gateway.write(drained=[bob])
        await eventually(lambda: len(gateway.all("paused")) == 2, "the second page")
        gateway.write(drained=[bob])
        await eventually(lambda: gateway.all("resumed"), "the end")
        assert gateway.seqs(bob) == list(range(1, count + 1))


async def test_what_is_said_meanwhile_comes_once_and_in_its_place(
    messenger_db: MessengerDatabase, engine: Engine, chat_id: bytes
) -> None:
    """A busy chat would be told twice or with holes to whoever comes back."""
    await say(engine, chat_id, *("text" for _ in range(300)))
    async with gateway_stream(engine, messenger_db.keys) as gateway:
        bob = await gateway.open(BOB)

        async def talk() -> None:
            for number in range(200):
                await say(engine, chat_id, f"{number}")

        await asyncio.gather(talk(), resume(gateway, bob, {chat_id: 0}))
        await eventually(lambda: 500 in gateway.seqs(bob), "all told")
        # What is told before the replica hears of the resume is live, and the gateway's to sort out
        live = next(index for index, told in enumerate(gateway.deliveries_to(bob)) if told.resumed)
        assert gateway.seqs(bob)[live:] == list(range(1, 501))


async def test_what_is_said_between_the_read_and_its_end_is_told(
    messenger_db: MessengerDatabase, engine: Engine, chat_id: bytes
) -> None:
    """A message that is held back just after an empty page was read would be told to nobody (promise P3)."""
    database = engine.streams._database

    class Late:
        """Reads, and lets Alice speak before it says what it read."""

        async def read(self, work: Any, *args: Any) -> Any:
            found = await database.read(work, *args)
            if work is missed.read_readable_page and not messenger_db.history(chat_id):
                await say(engine, chat_id, "a", "b")
            return found

    engine.streams._database = Late()  # type: ignore[assignment] # the port's one method that is asked
    async with gateway_stream(engine, messenger_db.keys) as gateway:
        bob = await gateway.open(BOB)
        await resume(gateway, bob, {chat_id: 0})
        assert gateway.seqs(bob) == [1, 2]


async def test_a_chat_that_is_not_the_users_is_refused_and_the_others_are_told(
    messenger_db: MessengerDatabase, engine: Engine, chat_id: bytes
) -> None:
    """A client with one chat that it left would never be told of the others; or strangers would read."""
    await say(engine, chat_id, "a")
    foreign = messenger_db.group([ALICE, CAROL])
    await say(engine, foreign, "secret")
    async with gateway_stream(engine, messenger_db.keys) as gateway:
        bob = await gateway.open(BOB)
        await resume(gateway, bob, {foreign: 0, new_id(): 0, chat_id: 0})
        errors = gateway.all("errors")
        assert [(one.socket, one.chat_id == foreign, one.error.code) for one in errors] == [
            (bob, True, "not_found"),
            (bob, False, "not_found"),
        ]
        assert errors[0].error == errors[1].error
        assert [one.chat_id for one in gateway.deliveries_to(bob)] == [chat_id]
        # And is told live when the user becomes a member
        messenger_db.write(add_members, foreign, ALICE, [BOB], 1, 10)
        engine.forget_chat(foreign)
        await say(engine, foreign, "welcome")
        await eventually(lambda: foreign in [one.chat_id for one in gateway.deliveries_to(bob)], "told live")


async def test_who_left_resumes_up_to_their_leaving(
    messenger_db: MessengerDatabase, engine: Engine, chat_id: bytes
) -> None:
    """Former members would go on reading by resuming (promise P5)."""
    await say(engine, chat_id, "a")
    messenger_db.write(remove_member, chat_id, ALICE, BOB)
    engine.forget_chat(chat_id)
    await say(engine, chat_id, "b")
    async with gateway_stream(engine, messenger_db.keys) as gateway:
        bob = await gateway.open(BOB)
        await resume(gateway, bob, {chat_id: 0})
        assert gateway.seqs(bob) == [1]


async def test_a_cursor_beyond_the_end_keeps_nothing_back(
    messenger_db: MessengerDatabase, engine: Engine, chat_id: bytes
) -> None:
    """A client with a wrong cursor would hear nothing of the chat for a minute."""
    await say(engine, chat_id, "a")
    async with gateway_stream(engine, messenger_db.keys) as gateway:
        bob = await gateway.open(BOB)
        await resume(gateway, bob, {chat_id: 2**61})
        await say(engine, chat_id, "b")
        await eventually(lambda: gateway.seqs(bob) == [2], "told live")


async def test_a_resume_that_fails_says_so_and_keeps_nothing_back(
    messenger_db: MessengerDatabase, engine: Engine, chat_id: bytes
) -> None:
    """A moment without the disk would silence a chat for a minute, without a word."""
    async with gateway_stream(engine, messenger_db.keys) as gateway:
        bob = await gateway.open(BOB)
        await say(engine, chat_id, "a")
        await eventually(lambda: gateway.seqs(bob) == [1], "told live")
        messenger_db.write(lambda c: c.execute(text("ALTER TABLE messages RENAME TO away")))
        await resume(gateway, bob, {chat_id: 0})
        messenger_db.write(lambda c: c.execute(text("ALTER TABLE away RENAME TO messages")))
        (refused,) = gateway.all("errors")
        assert (refused.socket, refused.error.code) == (bob, "unavailable")
        await say(engine, chat_id, "b")
        await eventually(lambda: gateway.seqs(bob) == [1, 2], "told live")


async def test_a_second_resume_remembers_what_the_first_has_read(
    messenger_db: MessengerDatabase, engine: Engine, chat_id: bytes
) -> None:
    """Somebody who resumes chat by chat would be told some messages twice."""
    other = messenger_db.direct(ALICE, BOB)
    async with gateway_stream(engine, messenger_db.keys) as gateway:
        bob = await gateway.open(BOB)
        await say(engine, chat_id, "a")
        await resume(gateway, bob, {chat_id: 1})
        socket = next(iter(engine.hub.online[BOB]))
        await resume(gateway, bob, {other: 0})
        assert socket.floors == {chat_id: 1, other: 0}


async def test_two_resumes_at_once_are_refused(
    messenger_db: MessengerDatabase, engine: Engine, chat_id: bytes
) -> None:
    """Pages of two resumes would be mixed."""
    await say(engine, chat_id, *("text" for _ in range(300)))
    async with gateway_stream(engine, messenger_db.keys) as gateway:
        bob = await gateway.open(BOB)
        asked = {"socket": bob, "chat_ids": [chat_id], "after_seqs": [0]}
        gateway.write(resumes=[asked, asked])
        await eventually(lambda: gateway.all("errors"), "refused")
        assert gateway.all("errors")[0].error.field == "cursors"


async def test_the_resume_of_a_closed_socket_ends(
    messenger_db: MessengerDatabase, engine: Engine, chat_id: bytes
) -> None:
    """Clients that give up would leave their pages in memory for a minute (promise P9)."""
    await say(engine, chat_id, *("text" for _ in range(300)))
    async with gateway_stream(engine, messenger_db.keys) as gateway:
        bob = await gateway.open(BOB)
        gateway.write(resumes=[{"socket": bob, "chat_ids": [chat_id], "after_seqs": [0]}])
        await eventually(lambda: gateway.all("paused"), "the first page")
        gateway.write(closes=[bob])
        # The last of what it says, to nobody
        await eventually(lambda: gateway.all("resumed") == [bob], "its end")
        assert gateway.all("errors") == []


async def test_a_reader_who_takes_nothing_is_given_up(
    messenger_db: MessengerDatabase, engine: Engine, chat_id: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hanging client would hold its page in memory for ever (promise P9)."""
    monkeypatch.setattr(module, "DRAIN_SECONDS", 0.05)
    await say(engine, chat_id, *("text" for _ in range(300)))
    async with gateway_stream(engine, messenger_db.keys) as gateway:
        bob = await gateway.open(BOB)
        gateway.write(resumes=[{"socket": bob, "chat_ids": [chat_id], "after_seqs": [0]}])
        await eventually(lambda: gateway.all("resumed"), "given up")
        assert [one.error.code for one in gateway.all("errors")] == ["unavailable"]


# ---- a gateway ----


async def test_a_gateway_is_told_what_it_missed_then_what_is_new(
    messenger_db: MessengerDatabase, engine: Engine, chat_id: bytes
) -> None:
    """Open sockets would miss what was said while their gateway was cut off."""
    await say(engine, chat_id, "before")
    since = now_us()
    await say(engine, chat_id, "missed")
    async with gateway_stream(engine, messenger_db.keys, since=since, opens=[(1, BOB, since)]) as gateway:
        await eventually(lambda: any(batch.clock for batch in gateway.batches), "caught up")
        await say(engine, chat_id, "new")
        await eventually(lambda: len(gateway.seqs(1)) == 2, "told live")
        assert gateway.seqs(1) == [2, 3]
        assert [one.catch_up for one in gateway.deliveries_to(1)] == [True, False]


async def test_a_gateway_is_told_what_changed_while_it_was_cut_off(
    messenger_db: MessengerDatabase, engine: Engine, chat_id: bytes
) -> None:
    """Open sockets would show a deleted message until they are opened again."""
    await say(engine, chat_id, "kept", "edited", "deleted")
    other = messenger_db.direct(ALICE, new_id())
    await say(engine, other, "of others")
    since = now_us()
    messenger_db.write(edit_message, chat_id, ALICE, 2, "better", since)
    messenger_db.write(delete_message, chat_id, ALICE, 3, since)
    messenger_db.write(edit_message, other, ALICE, 1, "nobody's business", since)
    async with gateway_stream(engine, messenger_db.keys, since=since, opens=[(1, BOB, since)]) as gateway:
        await eventually(lambda: len(gateway.deliveries_to(1)) == 2, "caught up")
        told = {one.first_seq: one for one in gateway.deliveries_to(1)}
        assert all(one.changed and not one.catch_up for one in told.values())
        assert (list(told[2].texts), told[2].edited_at) == (["better"], since)
        assert (list(told[3].texts), told[3].deleted_at) == ([""], since)
        assert len(gateway.all("deliveries")) == 2


async def test_no_time_is_said_before_a_gateway_has_caught_up(
    messenger_db: MessengerDatabase, engine: Engine, chat_id: bytes
) -> None:
    """Where the stream breaks again, what it has not told yet would never be told."""
    since = now_us()
    await say(engine, chat_id, *("missed" for _ in range(300)))
    async with gateway_stream(engine, messenger_db.keys, since=since, opens=[(1, BOB, since)]) as gateway:
        await eventually(lambda: any(batch.clock for batch in gateway.batches), "the time")
        first = next(index for index, batch in enumerate(gateway.batches) if batch.clock)
        before = [one for batch in gateway.batches[: first + 1] for one in batch.deliveries]
        assert len(before) == 300


async def test_a_gateway_that_cannot_be_caught_up_is_sent_away(
    messenger_db: MessengerDatabase, engine: Engine, chat_id: bytes
) -> None:
    """Its sockets would hear nothing more, or never of what they missed."""
    since = now_us()
    await say(engine, chat_id, "missed")
    messenger_db.write(lambda c: c.execute(text("ALTER TABLE messages RENAME TO away")))
    async with gateway_stream(engine, messenger_db.keys, since=since, opens=[(1, BOB, since)]) as gateway:
        await eventually(lambda: gateway.ended, "the end of the stream")
        assert all(batch.clock == 0 for batch in gateway.batches)
    messenger_db.write(lambda c: c.execute(text("ALTER TABLE away RENAME TO messages")))
    async with gateway_stream(engine, messenger_db.keys, since=since, opens=[(1, BOB, since)]) as gateway:
        await eventually(lambda: gateway.seqs(1) == [1], "caught up")


async def test_a_send_that_was_stored_is_told_before_it_is_acknowledged(
    messenger_db: MessengerDatabase, engine: Engine, chat_id: bytes
) -> None:
    """The gateway could not tell it from somebody else's, and would show it to its own sender."""
    since = now_us()
    client_id = new_id()
    await engine.send(chat_id, ALICE, [client_id], ["sent"], retry=False)
    again = {
        "socket": 1,
        "request": 9,
        "chat_id": chat_id,
        "client_ids": [client_id],
        "texts": ["sent"],
        "retry": True,
    }
    opens = [(1, ALICE, since), (2, BOB, since)]
    async with gateway_stream(engine, messenger_db.keys, since=since, opens=opens, sends=[again]) as gateway:
        await eventually(lambda: gateway.all("sent"), "acknowledged")
        (reply,) = gateway.all("sent")
        assert (reply.request, list(reply.seqs)) == (9, [1])
        told = next(index for index, batch in enumerate(gateway.batches) if batch.deliveries)
        acknowledged = next(index for index, batch in enumerate(gateway.batches) if batch.sent)
        assert told <= acknowledged
        assert gateway.seqs(2) == [1]


async def test_sockets_of_former_members_are_told_nothing_new(
    messenger_db: MessengerDatabase, engine: Engine, chat_id: bytes
) -> None:
    """A broken stream would let former members read on (promise P5)."""
    since = now_us()
    messenger_db.write(remove_member, chat_id, ALICE, BOB)
    engine.forget_chat(chat_id)
    await say(engine, chat_id, "missed")
    opens = [(1, BOB, since), (2, ALICE, since)]
    async with gateway_stream(engine, messenger_db.keys, since=since, opens=opens) as gateway:
        await eventually(lambda: gateway.seqs(2) == [1], "caught up")
        assert gateway.seqs(1) == []


async def test_users_who_are_back_at_once_were_never_gone(
    messenger_db: MessengerDatabase, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each broken stream would show everybody as offline, for good."""
    monkeypatch.setattr("palaver.messenger.realtime.presence.GONE_SECONDS", 0.05)
    messenger_db.direct(ALICE, BOB)
    async with gateway_stream(engine, messenger_db.keys) as watching:
        await watching.open(ALICE)
        async with gateway_stream(engine, messenger_db.keys) as gateway:
            await gateway.open(BOB)
            await eventually(lambda: any(one.online for one in watching.all("presences")), "online")
        since = now_us()
        async with gateway_stream(engine, messenger_db.keys, since=since, opens=[(1, BOB, since)]):
            await asyncio.sleep(0.15)
            assert all(one.online for one in watching.all("presences"))
        await eventually(lambda: not watching.all("presences")[-1].online, "offline")
