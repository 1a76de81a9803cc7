"""The archive's shards, as the messenger knows them."""

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, insert, select, update

from palaver.messenger.store.schema import shards

# Takes new segments
ACTIVE = "active"
# Takes none, and has maybe some
IDLE = "idle"


class Shard(NamedTuple):
    """One shard. `weight`: its share of new segments in relation to the others'."""

    id: int
    host: str
    port: int
    weight: int
    state: str


_all = select(shards).order_by(shards.c.id)
_move = (
    update(shards)
    .where(shards.c.id == bindparam("of"))
    .values(host=bindparam("new_host"), port=bindparam("new_port"))
)


def read_shards(connection: Connection) -> list[Shard]:
    """All shards, by id."""
    return [Shard._make(row) for row in connection.execute(_all)]


def store_shards(connection: Connection, found: Iterable[Shard]) -> None:
    """Notes shards where they were found. Those that are known keep their weight and state."""
    known = {shard.id: shard for shard in read_shards(connection)}
    for shard in found:
        if shard.id not in known:
            connection.execute(insert(shards), shard._asdict())
        elif (known[shard.id].host, known[shard.id].port) != (shard.host, shard.port):
            connection.execute(_move, {"of": shard.id, "new_host": shard.host, "new_port": shard.port})
