"""One new message, written with fewer statements."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select

from palaver.contracts.ids import new_id
from palaver.messenger.domain import Membership
from palaver.messenger.events import MessagesAppended
from palaver.messenger.pending_send import PendingSend
from palaver.messenger.store.chats import create_group, remove_member
from palaver.messenger.store.journal import Writes
from palaver.messenger.store.journal_sqlite import write_batch
from palaver.messenger.store.lone_append import append_lone
from palaver.messenger.store.schema import chats, members, message_keys, messages
from tests.harness.messenger_database import MessengerDatabase
from tests.harness.noted_replies import NotedReply

USERS = [new_id() for _ in range(3)]


@pytest.fixture
def sql_engine() -> str:
    """SQLite alone."""
    return "sqlite"


def send_of(chat_id: bytes, sender: bytes, text: str, client_id: bytes, version: int = 1) -> PendingSend:
    """A request to send one message."""
    membership = Membership(chat_id, True, version, frozenset(USERS))
    return PendingSend(membership, sender, [client_id], [text], NotedReply())


def rows_of(connection: Connection) -> dict[str, list[Any]]:
    """All that a send moves, without the messages' ids."""
    wanted = {
        "chats": select(chats.c.last_seq, chats.c.active_at),
        "members": select(
            members.c.user_id, members.c.received_seq, members.c.read_seq, members.c.active_at
        ).order_by(members.c.user_id),
        "messages": select(
            messages.c.seq, messages.c.sender_id, messages.c.client_id, messages.c.text, messages.c.created_at
        ).order_by(messages.c.seq),
        "keys": select(
            message_keys.c.client_id, message_keys.c.sender_id, message_keys.c.seq, message_keys.c.created_at
        ).order_by(message_keys.c.seq),
    }
    return {name: [tuple(row) for row in connection.execute(query)] for name, query in wanted.items()}


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(range(3)), st.integers(0, 20), st.text(min_size=1, max_size=9)), max_size=8
    )
)
def test_it_leaves_what_a_batch_would_leave(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int, str]]
) -> None:
    """Seqs, times, receipts or lists would depend on how busy the messenger was."""
    databases = [MessengerDatabase(tmp_path_factory.mktemp("journal")) for _ in range(2)]
    chat_id, left_id = new_id(), USERS[2]
    for database in databases:
        database.write(create_group, chat_id, USERS[0], "a group", USERS[1:], 1)
        if len(steps) % 2:
            database.write(remove_member, chat_id, left_id, left_id)
    version = databases[0].write(lambda c: c.execute(select(chats.c.members_version)).scalar_one())
    for sender, now, text in steps:
        if USERS[sender] == left_id and len(steps) % 2:
            continue
        client_id = new_id()
        outcomes = []
        for database, look_first in zip(databases, (False, True), strict=True):
            send = send_of(chat_id, USERS[sender], text, client_id, version)
            writes = Writes([send])

            def write(connection: Connection, writes: Writes, now: int, look_first: bool) -> None:
                write_batch(connection, writes, lambda: now, look_first=look_first)

            database.write(write, writes, now, look_first)
            outcomes.append((send.first_seq, len(send.ids), send.created_at, writes.appended, send.stale))
        assert outcomes[0] == outcomes[1]
    assert databases[0].write(rows_of) == databases[1].write(rows_of)
    for database in databases:
        database.close()


def append(connection: Connection, send: PendingSend, now: int) -> MessagesAppended | None:
    """`append_lone` over SQLAlchemy's connection."""
    raw: Any = connection.connection.driver_connection
    return append_lone(raw, send, now)


def test_changed_members_are_left_to_the_batch(messenger_db: MessengerDatabase) -> None:
    """Who was just removed could still write."""
    chat_id = messenger_db.group(USERS)
    before = messenger_db.write(rows_of)
    assert messenger_db.write(append, send_of(chat_id, USERS[0], "late", new_id(), version=7), 5) is None
    assert messenger_db.write(append, send_of(new_id(), USERS[0], "nowhere", new_id()), 5) is None
    assert messenger_db.write(rows_of) == before
