"""On which shard a chat's next segment lies: weighted rendezvous hashing. Sans-I/O.

When shards come, go or change their weights, only the chats of those shards move.
"""

import math
from collections.abc import Iterable
from hashlib import blake2b
from typing import NamedTuple


class WeightedShard(NamedTuple):
    """A shard that takes new segments, and its share of them in relation to the others'."""

    id: int
    weight: int


class NoShardError(Exception):
    """There is no shard that takes new segments."""


def place(chat_id: bytes, shards: Iterable[WeightedShard]) -> int:
    """The id of the chat's shard. Raises `NoShardError`."""
    scores = [(score(chat_id, shard), shard.id) for shard in shards if shard.weight > 0]
    if not scores:
        raise NoShardError
    return max(scores)[1]


def score(chat_id: bytes, shard: WeightedShard) -> float:
    """How much a shard wants a chat: of many chats it wants a part most that is its share of all weights
    (Schindelhauer and Schomaker, Weighted Distributed Hash Tables, 2005)."""
    digest = blake2b(shard.id.to_bytes(4, "big") + chat_id, digest_size=8).digest()
    # In (0, 1), so that the logarithm is finite and below 0
    fraction = (int.from_bytes(digest, "big") + 1) / (2**64 + 2)
    return -shard.weight / math.log(fraction) if fraction < 1 else math.inf
