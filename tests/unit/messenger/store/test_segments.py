"""Which seqs of a chat lie on which shard."""

import pytest
from sqlalchemy import Connection, insert, select

from palaver.contracts.ids import new_id
from palaver.messenger.store.schema import segments
from palaver.messenger.store.segments import (
    Run,
    SegmentGapError,
    append_runs,
    claim_segment,
    note_changed,
    read_archived_ends,
    read_segments,
)
from palaver.messenger.store.shards import ACTIVE, Shard, read_shards, store_shards

A, B = new_id(), new_id()
SHARDS = [Shard(number, "localhost", 9000 + number, 1, ACTIVE) for number in range(2)]


def trim_times(connection: Connection) -> list[int | None]:
    """When each segment is looked at for trimming."""
    query = select(segments.c.trim_at).order_by(segments.c.chat_id, segments.c.first_seq)
    return list(connection.execute(query).scalars())


def test_segments_follow_each_other(connection: Connection) -> None:
    """A page would look for messages on a shard that does not have them."""
    store_shards(connection, SHARDS)
    append_runs(connection, [Run(A, 1, 5, 100), Run(B, 1, 1, 90)], 0)
    append_runs(connection, [Run(A, 6, 7, 80)], 0)
    append_runs(connection, [Run(A, 8, 9, 110)], 1)
    found = read_segments(connection, A, 1, 9)
    assert [(one.first_seq, one.last_seq, one.shard_id, one.port) for one in found] == [
        (1, 7, 0, 9000),
        (8, 9, 1, 9001),
    ]
    assert [one.first_seq for one in read_segments(connection, A, 7, 7)] == [1]
    assert read_segments(connection, A, 10, 20) == []
    assert read_archived_ends(connection, [A, B, new_id()]) == {A: 9, B: 1}
    assert sorted(at or 0 for at in trim_times(connection)) == [80, 90, 110]


@pytest.mark.parametrize("run", [Run(A, 7, 8, 1), Run(A, 5, 8, 1), Run(B, 2, 2, 1)])
def test_a_segment_that_does_not_follow_is_refused(connection: Connection, run: Run) -> None:
    """Messages would be passed over, and their rows never be archived."""
    store_shards(connection, SHARDS)
    append_runs(connection, [Run(A, 1, 5, 1)], 0)
    with pytest.raises(SegmentGapError):
        append_runs(connection, [run], 0)


def test_changes_are_counted_and_looked_at(connection: Connection) -> None:
    """Of two who change one segment the second would not notice the first."""
    store_shards(connection, SHARDS)
    append_runs(connection, [Run(A, 1, 5, 100)], 0)
    assert claim_segment(connection, A, 1, 0)
    assert not claim_segment(connection, A, 1, 0)
    note_changed(connection, [(A, 1, 50)])
    assert read_segments(connection, A, 1, 1)[0].changes == 2
    assert trim_times(connection) == [50]


def test_shards_keep_what_operators_set(connection: Connection) -> None:
    """A shard that an operator has taken out would take messages again with each start."""
    store_shards(connection, SHARDS[:1])
    store_shards(connection, [SHARDS[0]._replace(host="elsewhere", weight=7, state="other"), SHARDS[1]])
    assert read_shards(connection) == [SHARDS[0]._replace(host="elsewhere"), SHARDS[1]]


def test_many_chats_are_read_at_once(connection: Connection) -> None:
    """A block of many chats would be refused by the database, whose statements have a most length."""
    chats = [new_id() for _ in range(1_200)]
    rows = [{"chat_id": chat, "first_seq": 1, "last_seq": 2, "shard_id": 0} for chat in chats]
    connection.execute(insert(segments), rows)
    assert read_archived_ends(connection, chats) == dict.fromkeys(chats, 2)
