"""Finding shards, on real nodes."""

import pytest

from palaver.messenger.archive.nodes import Address
from palaver.messenger.archive.topology import check_marks, find_shards, free_mark
from palaver.messenger.store.shards import ACTIVE, IDLE, Shard
from palaver.runtime.startup import StartError
from tests.harness.archive import Archive
from tests.harness.clickhouse import ClickHouseCluster


async def test_the_first_shards_take_messages_and_later_ones_wait(
    archive: Archive, clickhouse: ClickHouseCluster
) -> None:
    """Messages would go to a node that nobody has said is ready, or to none at all."""
    ports = [shard.port for shard in clickhouse.shards]
    found = await find_shards(archive.nodes, archive.address, [])
    assert found == [Shard(number, "127.0.0.1", ports[number], 1, ACTIVE) for number in range(2)]
    again = await find_shards(archive.nodes, archive.address, found[:1])
    assert again == [found[0], found[1]._replace(state=IDLE)]


async def test_a_shard_is_known_by_its_mark(archive: Archive, clickhouse: ClickHouseCluster) -> None:
    """After nodes have changed places, histories would be read from the wrong one."""
    database = archive.address.database
    for shard, mark in zip(clickhouse.shards, (7, 3), strict=True):
        shard.execute(f"CREATE DATABASE {database}")
        shard.execute(f"CREATE TABLE {database}.palaver_shard (id UInt32) ENGINE = TinyLog")
        shard.execute(f"INSERT INTO {database}.palaver_shard (id) VALUES", [(mark,)])
    known = [Shard(7, "elsewhere", 1, 5, IDLE)]
    found = await find_shards(archive.nodes, archive.address, known)
    assert [(one.id, one.port) for one in found] == [
        (7, clickhouse.shards[0].port),
        (3, clickhouse.shards[1].port),
    ]
    assert (found[0].weight, found[0].state) == (5, IDLE)


async def test_a_wrong_cluster_is_named(archive: Archive) -> None:
    """An operator would wait for an archive that there is not."""
    wrong = archive.address._replace(cluster="nowhere")
    with pytest.raises(StartError, match=r"setting archive\.cluster: .* knows no cluster nowhere"):
        await find_shards(archive.nodes, wrong, [])


def test_two_nodes_with_one_mark_are_refused() -> None:
    """Half of a shard's messages would be looked for on its copy."""
    shards = [Shard(1, "a", 9000, 1, ACTIVE), Shard(1, "b", 9000, 1, ACTIVE)]
    with pytest.raises(StartError, match="two nodes are shard 1: a:9000 and b:9000"):
        check_marks(shards)


def test_marks_are_given_once() -> None:
    """A new node would be taken for one that is away, and asked for its messages."""
    assert free_mark(2, [0, 1]) == 2
    assert free_mark(1, [0, 1, 5]) == 6
    assert str(Address("a", 1)) == "a:1"
