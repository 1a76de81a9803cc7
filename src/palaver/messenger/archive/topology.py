"""Which shards there are, and where: what the cluster's node says, and the mark that each shard bears.

A shard is known by its mark, so that nodes may move, and change places in the cluster's definition.
"""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from palaver.messenger.archive import statements
from palaver.messenger.archive.nodes import Address, ArchiveNodes, NodeError, NoSuchTableError
from palaver.messenger.store.shards import ACTIVE, IDLE, Shard
from palaver.runtime.startup import StartError
from palaver.runtime.telemetry.configuration import log


class ArchiveAddress(NamedTuple):
    """What the setting `archive.url` and `archive.cluster` name."""

    node: Address
    database: str
    cluster: str


class ClusterShard(NamedTuple):
    """A shard as the cluster's node defines it; `number` counts from 0."""

    number: int
    weight: int
    address: Address


async def read_cluster(nodes: ArchiveNodes, archive: ArchiveAddress) -> list[ClusterShard]:
    """The cluster's shards, in its order. Raises `NodeError`, and `StartError` for a cluster that is no
    archive."""
    rows = await nodes.select(archive.node, statements.read_topology(archive.cluster))
    if not rows:
        raise StartError(f"setting archive.cluster: {archive.node} knows no cluster {archive.cluster}")
    if any(replica != 1 for _, replica, *_ in rows):
        raise StartError(
            f"setting archive.cluster: a shard of {archive.cluster} has several replicas, and messages are "
            "written to one"
        )
    return [
        ClusterShard(number - 1, weight, Address(host.decode(), port))
        for number, _, weight, host, port in rows
    ]


async def find_shards(nodes: ArchiveNodes, archive: ArchiveAddress, known: Sequence[Shard]) -> list[Shard]:
    """The shards that answer, with their tables made. Those that do not stay as they are known.

    Raises as `read_cluster` does.
    """
    cluster = await read_cluster(nodes, archive)
    await nodes.define(archive.node, statements.create_database(archive.database))
    found: list[Shard] = []
    states = {shard.id: shard for shard in known}
    for one in cluster:
        try:
            mark = await prepare_shard(nodes, one, archive.database, {*states, *(s.id for s in found)})
        except NodeError as error:
            log.warning("shard_not_found", number=one.number, cause=str(error))
            continue
        # At the first start all take messages; later an operator says when one does
        new = Shard(mark, *one.address, one.weight, IDLE if known else ACTIVE)
        found.append(states.get(mark, new)._replace(host=one.address.host, port=one.address.port))
    check_marks(found)
    statement = statements.create_cluster_table(archive.database, archive.cluster)
    await nodes.define(archive.node, statement)
    return found


async def prepare_shard(nodes: ArchiveNodes, shard: ClusterShard, database: str, taken: Iterable[int]) -> int:
    """The shard's mark. One that has none gets its tables, and its number or the next that is free. Raises
    `NodeError`."""
    with contextlib.suppress(NoSuchTableError):
        for (mark,) in await nodes.select(shard.address, statements.read_mark(database)):
            return int(mark)
    for statement in (
        statements.create_database(database),
        statements.create_shard_table(database),
        statements.create_mark_table(database),
    ):
        await nodes.define(shard.address, statement)
    mark = free_mark(shard.number, taken)
    await nodes.insert(shard.address, statements.insert_mark(database), [(mark,)])
    log.info("shard_added", shard=mark, node=str(shard.address))
    return mark


def free_mark(wanted: int, taken: Iterable[int]) -> int:
    """The wanted mark, unless it is taken."""
    marks = set(taken)
    return wanted if wanted not in marks else max(marks) + 1


def check_marks(found: Iterable[Shard]) -> None:
    """Raises `StartError` where two nodes bear one mark: one of them is a copy."""
    places: dict[int, Shard] = {}
    for shard in found:
        other = places.setdefault(shard.id, shard)
        if other is not shard:
            raise StartError(
                f"two nodes are shard {shard.id}: {other.host}:{other.port} and {shard.host}:{shard.port}"
            )


def places_of(shards: Iterable[Shard]) -> Mapping[int, Address]:
    """Where each shard is."""
    return {shard.id: Address(shard.host, shard.port) for shard in shards}
