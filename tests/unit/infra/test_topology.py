"""The topology of a deployment."""

import pytest

from palaver.infra.topology import (
    BLOCK,
    ENGINES,
    SCHEMAS,
    SHARD_NODES,
    Topology,
    docker_topology,
    native_topology,
)


@pytest.mark.parametrize("topology", [native_topology(23_300), docker_topology()])
def test_both_ways_have_the_same_engines(topology: Topology) -> None:
    """A deployment would lack an engine, depending on the machine it is on."""
    assert set(topology.addresses) == set(ENGINES)
    assert ENGINES.count("mysql") == ENGINES.count("redis") == 1
    assert len([name for name in ENGINES if name.startswith("clickhouse")]) == 6
    assert tuple(f"clickhouse-shard-{number}" for number in range(5)) == SHARD_NODES
    assert SCHEMAS == ("auth", "messenger")


def test_native_ports_are_one_block_on_loopback() -> None:
    """Two engines would want one port, or one that was not looked at."""
    addresses = native_topology(23_300).addresses.values()
    ports = [port for address in addresses for port in address.ports]
    assert len(set(ports)) == len(ports) == 14
    assert all(23_300 <= port < 23_300 + BLOCK for port in ports)
    assert {address.host for address in addresses} == {"127.0.0.1"}


def test_shards_are_in_the_order_of_their_numbers() -> None:
    """The archive would look for a chat on another shard than where it is."""
    topology = native_topology(23_300)
    assert list(topology.shards) == [topology.addresses[name] for name in SHARD_NODES]
