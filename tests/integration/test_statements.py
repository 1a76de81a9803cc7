"""What gateways and clients that come back cost the database: statements do not grow with their sockets."""

import contextlib
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from palaver.contracts.ids import new_id
from palaver.contracts.times import now_us
from palaver.messenger.store.commit_log import read_newest
from tests.harness.gateway_stream import GatewayStream, gateway_stream
from tests.harness.journal_rows import write_messages
from tests.harness.messenger_database import MessengerDatabase
from tests.harness.realtime import Cluster, running_replica
from tests.harness.waiting import eventually

FEW, MANY = 20, 200
# Of a batch of sockets, whatever their number: users' chats, presence with its row of the log, and what the
# replica does meanwhile for itself
MOST_OF_BATCH = 80
# Of a resume of 100 chats, and of what the socket that opened just before is told
MOST_OF_RESUME = 12
# The test's own
ONLINE = "SELECT user_id FROM presence WHERE online"


@pytest.fixture
def statements() -> Iterator[list[str]]:
    """Every statement on connections that are opened from now on."""
    seen: list[str] = []

    def trace(connection: Any, _: Any) -> None:
        raw = connection
        while not isinstance(raw, sqlite3.Connection):
            raw = raw.driver_connection
        raw.set_trace_callback(seen.append)

    event.listen(Engine, "connect", trace)
    yield seen
    event.remove(Engine, "connect", trace)


@contextlib.contextmanager
def counting(statements: list[str]) -> Iterator[list[str]]:
    """Those of the block that read or write rows."""
    before = len(statements)
    counted: list[str] = []
    yield counted
    words = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")
    counted += [
        one for one in statements[before:] if one.lstrip().upper().startswith(words) and one != ONLINE
    ]


async def reopened(
    messenger_db: MessengerDatabase, cluster: Cluster, statements: list[str], sockets: int
) -> list[str]:
    """The statements of a gateway that comes from another replica with so many sockets, each of a user with
    three chats, who all missed one message."""
    users = [new_id() for _ in range(sockets)]
    group = messenger_db.group(users)
    for one, other in zip(users, [*users[1:], users[0]], strict=True):
        messenger_db.direct(one, other)
    followed = messenger_db.write(read_newest)
    async with running_replica(messenger_db, cluster) as other_replica:
        await other_replica.engine.send(group, users[0], [new_id()], ["missed"], retry=False)
    opens = [(number, user, now_us()) for number, user in enumerate(users, start=1)]
    async with running_replica(messenger_db, cluster) as replica:
        with counting(statements) as counted:
            async with gateway_stream(replica, messenger_db.keys, followed=followed, opens=opens) as gateway:
                await eventually(lambda: len(gateway.all("opened")) == sockets, "opened")
                await eventually(lambda: gateway.seqs(sockets) == [1], "what was missed")
                await eventually(
                    lambda: len(messenger_db.write(read_stored_online)) >= sockets, "all are online"
                )
    return counted


def read_stored_online(connection: Any) -> list[Any]:
    """Who is stored as online."""
    return list(connection.exec_driver_sql(ONLINE))


async def test_a_gateways_sockets_are_reopened_at_the_cost_of_one(
    messenger_db: MessengerDatabase, statements: list[str]
) -> None:
    """A gateway with 5,000 sockets would keep the database of its new messenger busy for seconds."""
    for sockets in (FEW, MANY):
        counted = await reopened(messenger_db, Cluster(), statements, sockets)
        assert len(counted) <= MOST_OF_BATCH, counted


async def resumed(
    gateway: GatewayStream, socket: int, cursors: dict[bytes, int], statements: list[str]
) -> list[str]:
    """The statements of a resume."""
    with counting(statements) as counted:
        gateway.write(
            resumes=[{"socket": socket, "chat_ids": list(cursors), "after_seqs": list(cursors.values())}]
        )
        await eventually(lambda: socket in gateway.all("resumed"), "resumed")
    return counted


async def test_a_resume_reads_only_the_chats_in_which_something_was_missed(
    messenger_db: MessengerDatabase, statements: list[str]
) -> None:
    """Thousands of clients that come back at once would each read all of their chats, one by one."""
    user = new_id()
    cursors = {messenger_db.direct(user, new_id()): 0 for _ in range(100)}
    missed = next(iter(cursors))
    messenger_db.write(write_messages, missed, user, ["missed"], 1)
    async with (
        running_replica(messenger_db) as replica,
        gateway_stream(replica, messenger_db.keys) as gateway,
    ):
        first = await gateway.open(user)
        second = await gateway.open(user)
        counted = await resumed(gateway, first, cursors, statements)
        assert gateway.seqs(first) == [1]
        assert len(counted) <= MOST_OF_RESUME, counted
        counted = await resumed(gateway, second, {**cursors, missed: 1}, statements)
        assert gateway.seqs(second) == []
        assert len(counted) <= MOST_OF_RESUME, counted
