"""One socket's resume, through a replica's stream."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import text

from palaver.contracts.ids import new_id
from palaver.messenger.domain import Message
from palaver.messenger.events import MessageChanged, Position
from palaver.messenger.store.commit_log import append_commit
from palaver.messenger.store.messages import STREAM_MESSAGES, SqlMessageReader
from palaver.messenger.stream import resume as module
from palaver.messenger.stream.reads import Reads
from palaver.messenger.stream.server import StreamServer
from palaver.messenger.use_cases import add_members
from palaver.runtime.settings.messenger import MessengerSettings
from tests.harness.gateway_stream import GatewayStream, gateway_stream
from tests.harness.messenger_database import MessengerDatabase
from tests.harness.realtime import Replica, running_replica
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


async def test_what_came_behind_the_cursors_is_told_then_the_end(
    messenger_db: MessengerDatabase, replica: Replica, chat_id: bytes
) -> None:
    """A client that comes back would miss messages, or all history come at once (promise P3)."""
    other = messenger_db.direct(ALICE, BOB)
    await say(replica, chat_id, "a", "b", "c")
    await say(replica, other, "d")
    async with gateway_stream(replica, messenger_db.keys) as gateway:
        bob = await gateway.open(BOB)
        await resume(gateway, bob, {chat_id: 1, other: 0})
        told = [(one.chat_id, one.first_seq, list(one.texts)) for one in gateway.deliveries_to(bob)]
        assert told == [(chat_id, 2, ["b"]), (chat_id, 3, ["c"]), (other, 1, ["d"])]
        assert all(one.resumed for one in gateway.deliveries_to(bob))


async def test_a_long_resume_waits_for_its_reader_page_by_page(
    messenger_db: MessengerDatabase, replica: Replica, chat_id: bytes
) -> None:
    """A client that was away for long would be sent everything at once, and be cut as a slow reader."""
    count = STREAM_MESSAGES * 2 + 5
    await say(replica, chat_id, *("text" for _ in range(count)))
    async with gateway_stream(replica, messenger_db.keys) as gateway:
        bob = await gateway.open(BOB)
        gateway.write(resumes=[{"socket": bob, "chat_ids": [chat_id], "after_seqs": [0]}])
        await eventually(lambda: gateway.all("paused"), "the first page")
        await asyncio.sleep(0.02)
        assert gateway.seqs(bob) == list(range(1, STREAM_MESSAGES + 1))
        gateway.write(drained=[bob])
        await eventually(lambda: len(gateway.all("paused")) == 2, "the second page")
        gateway.write(drained=[bob])
        await eventually(lambda: gateway.all("resumed"), "the end")
        assert gateway.seqs(bob) == list(range(1, count + 1))


async def test_what_is_said_meanwhile_comes_once_and_in_its_place(
    messenger_db: MessengerDatabase, replica: Replica, chat_id: bytes
) -> None:
    """A busy chat would be told twice or with holes to whoever comes back."""
    await say(replica, chat_id, *("text" for _ in range(300)))
    async with gateway_stream(replica, messenger_db.keys) as gateway:
        bob = await gateway.open(BOB)

        async def talk() -> None:
            for number in range(200):
                await say(replica, chat_id, f"{number}")

        await asyncio.gather(talk(), resume(gateway, bob, {chat_id: 0}))
        await eventually(lambda: 500 in gateway.seqs(bob), "all told")
        # What is told before the replica hears of the resume is live, and the gateway's to sort out
        live = next(index for index, told in enumerate(gateway.deliveries_to(bob)) if told.resumed)
        assert gateway.seqs(bob)[live:] == list(range(1, 501))


@pytest.mark.parametrize("before", [0, 1])
async def test_what_is_said_between_the_read_and_its_end_is_told(
    messenger_db: MessengerDatabase, replica: Replica, chat_id: bytes, before: int
) -> None:
    """A message that is held back just after it was read that there is none would be told to nobody (promise
    P3)."""
    reader = replica.store.messages
    for _ in range(before):
        await say(replica, chat_id, "before")

    class Late(SqlMessageReader):
        """Reads, and lets Alice speak before it says what it read: the ends of chats, or the first page."""

        async def readable_ends(self, user_id: bytes, chat_ids: Sequence[bytes]) -> Mapping[bytes, int]:
            ends = await reader.readable_ends(user_id, chat_ids)
            if not before:
                await say(replica, chat_id, "a", "b")
            return ends

        async def readable_after(
            self, chat_id: bytes, user_id: bytes, after: int
        ) -> tuple[list[Message], int] | None:
            found = await reader.readable_after(chat_id, user_id, after)
            if len(messenger_db.history(chat_id)) == before:
                await say(replica, chat_id, "a", "b")
            return found

    late = dataclasses.replace(replica.store, messages=Late(replica.store.database))
    reads = Reads(replica.use_cases, messenger_db.keys.verifier())
    replica.attach = StreamServer(
        replica.engine, late, messenger_db.keys.verifier(), reads, MessengerSettings()
    ).attach
    async with gateway_stream(replica, messenger_db.keys) as gateway:
        bob = await gateway.open(BOB)
        await resume(gateway, bob, {chat_id: 0})
        assert gateway.seqs(bob) == list(range(1, before + 3))


async def test_a_chat_that_is_not_the_users_is_refused_and_the_others_are_told(
    messenger_db: MessengerDatabase, replica: Replica, chat_id: bytes
) -> None:
    """A client with one chat that it left would never be told of the others; or strangers would read."""
    await say(replica, chat_id, "a")
    foreign = messenger_db.group([ALICE, CAROL])
    await say(replica, foreign, "secret")
    async with gateway_stream(replica, messenger_db.keys) as gateway:
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
        await replica.engine.commit(add_members, foreign, ALICE, [BOB], 10)
        await say(replica, foreign, "welcome")
        await eventually(lambda: foreign in [one.chat_id for one in gateway.deliveries_to(bob)], "told live")


async def test_who_left_resumes_up_to_their_leaving(
    messenger_db: MessengerDatabase, replica: Replica, chat_id: bytes
) -> None:
    """Former members would go on reading by resuming (promise P5)."""
    await say(replica, chat_id, "a")
    await replica.use_cases.remove_member(ALICE, chat_id, BOB)
    await say(replica, chat_id, "b")
    async with gateway_stream(replica, messenger_db.keys) as gateway:
        bob = await gateway.open(BOB)
        await resume(gateway, bob, {chat_id: 0})
        assert gateway.seqs(bob) == [1]


async def test_a_cursor_beyond_the_end_keeps_nothing_back(
    messenger_db: MessengerDatabase, replica: Replica, chat_id: bytes
) -> None:
    """A client with a wrong cursor would hear nothing of the chat for a minute."""
    await say(replica, chat_id, "a")
    async with gateway_stream(replica, messenger_db.keys) as gateway:
        bob = await gateway.open(BOB)
        await resume(gateway, bob, {chat_id: 2**61})
        await say(replica, chat_id, "b")
        await eventually(lambda: gateway.seqs(bob) == [2], "told live")


async def test_a_resume_that_fails_says_so_and_keeps_nothing_back(
    messenger_db: MessengerDatabase, replica: Replica, chat_id: bytes
) -> None:
    """A moment without the disk would silence a chat for a minute, without a word."""
    async with gateway_stream(replica, messenger_db.keys) as gateway:
        bob = await gateway.open(BOB)
        await say(replica, chat_id, "a")
        await eventually(lambda: gateway.seqs(bob) == [1], "told live")
        messenger_db.write(lambda c: c.execute(text("ALTER TABLE messages RENAME TO away")))
        await resume(gateway, bob, {chat_id: 0})
        messenger_db.write(lambda c: c.execute(text("ALTER TABLE away RENAME TO messages")))
        (refused,) = gateway.all("errors")
        assert (refused.socket, refused.error.code) == (bob, "unavailable")
        await say(replica, chat_id, "b")
        await eventually(lambda: gateway.seqs(bob) == [1, 2], "told live")


def commit_elsewhere(messenger_db: MessengerDatabase, chat_id: bytes) -> Position:
    """Another replica commits, and its event is on its way."""
    position: Position = messenger_db.write(append_commit, [MessageChanged(chat_id, 1)])
    return position


async def test_a_second_resume_remembers_what_the_first_has_read(
    messenger_db: MessengerDatabase, replica: Replica, chat_id: bytes
) -> None:
    """Somebody who resumes chat by chat would be told some messages twice."""
    other = messenger_db.direct(ALICE, BOB)
    async with gateway_stream(replica, messenger_db.keys) as gateway:
        bob = await gateway.open(BOB)
        await say(replica, chat_id, "a")
        position = commit_elsewhere(messenger_db, chat_id)
        await resume(gateway, bob, {chat_id: 1})
        socket = next(iter(replica.engine.hub.online[BOB]))
        await resume(gateway, bob, {other: 0})
        assert socket.floors == {chat_id: 1, other: 0}
        # What a resume has read is passed over until it has been delivered live, and no longer
        replica.engine.followed.note(position)
        replica.engine.followed.finish(position)
        await eventually(lambda: socket.floors is None, "the end of the resumes")


async def test_the_first_resumes_end_is_not_the_seconds(
    messenger_db: MessengerDatabase, replica: Replica, chat_id: bytes
) -> None:
    """What another replica wrote between two resumes would be delivered by the second, and live again."""
    other = messenger_db.direct(ALICE, BOB)
    followed = replica.engine.followed
    async with gateway_stream(replica, messenger_db.keys) as gateway:
        bob = await gateway.open(BOB)
        await say(replica, chat_id, "a")
        first = commit_elsewhere(messenger_db, chat_id)
        await resume(gateway, bob, {chat_id: 1})
        second = commit_elsewhere(messenger_db, chat_id)
        await resume(gateway, bob, {other: 0})
        socket = next(iter(replica.engine.hub.online[BOB]))
        followed.note(first)
        followed.note(second)
        followed.finish(first)
        await asyncio.sleep(0.02)
        assert socket.floors == {chat_id: 1, other: 0}
        followed.finish(second)
        await eventually(lambda: socket.floors is None, "the end of the resumes")


async def test_two_resumes_at_once_are_refused(
    messenger_db: MessengerDatabase, replica: Replica, chat_id: bytes
) -> None:
    """Pages of two resumes would be mixed."""
    await say(replica, chat_id, *("text" for _ in range(300)))
    async with gateway_stream(replica, messenger_db.keys) as gateway:
        bob = await gateway.open(BOB)
        asked = {"socket": bob, "chat_ids": [chat_id], "after_seqs": [0]}
        gateway.write(resumes=[asked, asked])
        await eventually(lambda: gateway.all("errors"), "refused")
        assert gateway.all("errors")[0].error.field == "cursors"


async def test_the_resume_of_a_closed_socket_ends(
    messenger_db: MessengerDatabase, replica: Replica, chat_id: bytes
) -> None:
    """Clients that give up would leave their pages in memory for a minute (promise P9)."""
    await say(replica, chat_id, *("text" for _ in range(300)))
    async with gateway_stream(replica, messenger_db.keys) as gateway:
        bob = await gateway.open(BOB)
        gateway.write(resumes=[{"socket": bob, "chat_ids": [chat_id], "after_seqs": [0]}])
        await eventually(lambda: gateway.all("paused"), "the first page")
        assert len(resumes()) == 1
        gateway.write(closes=[bob])
        await eventually(lambda: not resumes(), "its end")
        assert gateway.all("resumed") == gateway.all("errors") == []


def resumes() -> list[asyncio.Task[Any]]:
    """Those under way."""
    return [task for task in asyncio.all_tasks() if getattr(task.get_coro(), "__name__", "") == "resume"]


async def test_a_reader_who_takes_nothing_is_given_up(
    messenger_db: MessengerDatabase, replica: Replica, chat_id: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hanging client would hold its page in memory for ever (promise P9)."""
    monkeypatch.setattr(module, "DRAIN_SECONDS", 0.05)
    await say(replica, chat_id, *("text" for _ in range(300)))
    async with gateway_stream(replica, messenger_db.keys) as gateway:
        bob = await gateway.open(BOB)
        gateway.write(resumes=[{"socket": bob, "chat_ids": [chat_id], "after_seqs": [0]}])
        await eventually(lambda: gateway.all("resumed"), "given up")
        assert [one.error.code for one in gateway.all("errors")] == ["unavailable"]
