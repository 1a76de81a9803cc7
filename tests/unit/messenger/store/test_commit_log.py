"""The commit log: what each transaction has touched, by its position."""

import pytest
from sqlalchemy import Connection, delete, func, select

from palaver.contracts.ids import new_id
from palaver.messenger.events import (
    Commit,
    Event,
    MembersChanged,
    MessageChanged,
    MessagesAppended,
    Position,
    PresenceChanged,
    ReceiptMoved,
)
from palaver.messenger.store.commit_log import (
    LogTrimmedError,
    append_commit,
    read_after,
    read_newest,
    trim_log,
)
from palaver.messenger.store.schema import commit_log

CHAT, ALICE, BOB = new_id(), new_id(), new_id()


def commit(connection: Connection, seq: int) -> Position:
    """Logs one message."""
    position = append_commit(connection, [MessagesAppended(CHAT, seq, seq, 1)])
    assert position is not None
    return position


def numbers(connection: Connection, after: int, limit: int = 1_000) -> list[int]:
    """The numbers behind one."""
    return [found.position.number for found in read_after(connection, {1: after}, limit)]


def test_numbers_have_no_holes(connection: Connection) -> None:
    """Replicas and gateways would wait for a transaction that never was."""
    assert read_newest(connection) == {1: 0}
    assert [commit(connection, seq) for seq in (1, 2, 3)] == [Position(1, n) for n in (1, 2, 3)]
    assert append_commit(connection, []) is None
    assert commit(connection, 4) == Position(1, 4)
    assert read_newest(connection) == {1: 4}


def test_a_transaction_that_is_undone_leaves_no_hole(connection: Connection) -> None:
    """Each refused change would make all replicas look for it in the log."""
    commit(connection, 1)
    nested = connection.begin_nested()
    commit(connection, 2)
    nested.rollback()
    assert commit(connection, 2) == Position(1, 2)


ENTRIES: list[Event] = [
    MessagesAppended(CHAT, 1, 2**62, 7),
    MessageChanged(CHAT, 3),
    ReceiptMoved(CHAT, ALICE, 5, 4),
    MembersChanged(CHAT, (ALICE, BOB)),
    MembersChanged(CHAT, ()),
    PresenceChanged(ALICE, True, 2**53),
    PresenceChanged(ALICE, False, 0),
]


def test_entries_come_back_as_they_went(connection: Connection) -> None:
    """A gateway that was cut off would be sent something else than what happened."""
    position = append_commit(connection, ENTRIES)
    assert position is not None
    assert read_after(connection, {1: 0}, 10) == [Commit(position, ENTRIES)]


@pytest.mark.parametrize("end", [b"\x00", b"\x00" * 16, b"\xff", b"'", b"\xc0\x80"])
def test_any_bytes_are_an_id(connection: Connection, end: bytes) -> None:
    """Chats whose ids end in a zero, one in 256, would be left out after a broken stream."""
    odd = (bytes(range(16)) + end)[-16:]
    entries: list[Event] = [MessagesAppended(odd, 1, 1, 1), MembersChanged(odd, (odd, ALICE))]
    append_commit(connection, entries)
    (found,) = read_after(connection, {1: 0}, 10)
    assert found.entries == entries


def test_only_what_lies_behind_a_position_is_read(connection: Connection) -> None:
    """A gateway would be sent again what it has, or pass over what it has not."""
    for seq in range(1, 8):
        commit(connection, seq)
    assert numbers(connection, 0) == [1, 2, 3, 4, 5, 6, 7]
    assert numbers(connection, 5) == [6, 7]
    assert numbers(connection, 7) == []
    assert numbers(connection, 2, limit=3) == [3, 4, 5]


def test_a_writer_that_one_knows_nothing_of_is_read_from_its_beginning(connection: Connection) -> None:
    """What a new writer commits first would be lost."""
    commit(connection, 1)
    assert [found.position.number for found in read_after(connection, {}, 10)] == [1]
    assert [found.position.number for found in read_after(connection, {2: 0}, 10)] == [1]


def test_a_position_beyond_the_newest_is_not_taken_for_the_end(connection: Connection) -> None:
    """After a backup was restored gateways would wait for ever, and their sockets miss all that is new."""
    with pytest.raises(LogTrimmedError):
        read_after(connection, {1: 1}, 10)
    commit(connection, 1)
    assert numbers(connection, 1) == []
    for followed in ({1: 2}, {1: 1, 2: 5}):
        with pytest.raises(LogTrimmedError):
            read_after(connection, followed, 10)


def test_a_trimmed_position_is_not_taken_for_one_that_has_nothing_behind_it(connection: Connection) -> None:
    """Sockets of a gateway that was away for long would miss messages, and nobody would know."""
    for seq in range(1, 8):
        commit(connection, seq)
    assert trim_log(connection, {1: 3}, 100) == 3
    assert numbers(connection, 3) == [4, 5, 6, 7]
    for after in (0, 2):
        with pytest.raises(LogTrimmedError):
            read_after(connection, {1: after}, 10)


def test_the_newest_row_is_never_trimmed(connection: Connection) -> None:
    """Numbers would begin at 1 again, and all who follow the log would pass over what is new."""
    for seq in range(1, 4):
        commit(connection, seq)
    assert trim_log(connection, {1: 3}, 100) == 2
    assert trim_log(connection, {1: 99}, 100) == 0
    assert read_newest(connection) == {1: 3}
    assert commit(connection, 4) == Position(1, 4)
    assert numbers(connection, 3) == [4]


def test_much_is_trimmed_in_pieces_oldest_first(connection: Connection) -> None:
    """Senders would wait while the log of a busy hour is deleted, or a hole would look like the end."""
    for seq in range(1, 11):
        commit(connection, seq)
    deleted = []
    while count := trim_log(connection, {1: 8}, 3):
        deleted.append(count)
        oldest = connection.execute(select(func.min(commit_log.c.number))).scalar_one()
        assert numbers(connection, oldest - 1) == list(range(oldest, 11))
    assert deleted == [3, 3, 2]


def test_there_is_nothing_to_trim_in_an_empty_log(connection: Connection) -> None:
    """A new installation would log an error every few seconds."""
    assert trim_log(connection, {1: 0}, 100) == 0
    assert trim_log(connection, {}, 100) == 0
    commit(connection, 1)
    connection.execute(delete(commit_log))
    assert trim_log(connection, {1: 1, 2: 4}, 100) == 0
