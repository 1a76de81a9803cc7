"""Placement of chats on shards."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.messenger.archive.placement import NoShardError, WeightedShard, place

SHARDS = st.lists(
    st.builds(WeightedShard, st.integers(0, 50), st.integers(1, 9)),
    min_size=1,
    max_size=8,
    unique_by=lambda shard: shard.id,
)
CHATS = st.binary(min_size=16, max_size=16)


@given(CHATS, SHARDS)
def test_the_order_of_shards_is_nothing(chat_id: bytes, shards: list[WeightedShard]) -> None:
    """A chat's messages would be scattered by each new archiver."""
    assert place(chat_id, shards) == place(chat_id, shards[::-1])


@given(CHATS, SHARDS, st.integers(1, 9))
def test_a_new_shard_takes_chats_and_moves_no_others(
    chat_id: bytes, shards: list[WeightedShard], weight: int
) -> None:
    """With each new shard most chats would begin a segment elsewhere, and a page would touch many nodes."""
    before = place(chat_id, shards)
    assert place(chat_id, [*shards, WeightedShard(99, weight)]) in (before, 99)


@given(CHATS, SHARDS, st.integers(2, 9))
def test_more_weight_draws_chats_and_sends_none_away(
    chat_id: bytes, shards: list[WeightedShard], factor: int
) -> None:
    """A shard that is given more would lose chats to others."""
    before = place(chat_id, shards)
    heavier = [one._replace(weight=one.weight * factor) if one.id == before else one for one in shards]
    assert place(chat_id, heavier) == before


def test_shards_get_their_share() -> None:
    """One node would be full while others have room."""
    shards = [WeightedShard(0, 1), WeightedShard(1, 2), WeightedShard(2, 1), WeightedShard(3, 0)]
    counts = Counter(place(number.to_bytes(16, "big"), shards) for number in range(4_000))
    assert counts[3] == 0
    assert [round(counts[shard] / 1_000) for shard in (0, 1, 2)] == [1, 2, 1]


def test_no_shard_is_an_error() -> None:
    """Messages would be moved to nowhere."""
    with pytest.raises(NoShardError):
        place(bytes(16), [WeightedShard(0, 0)])
