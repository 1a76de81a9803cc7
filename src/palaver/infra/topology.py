"""What the engines of a deployment are, whichever way they run: names, schemas, accounts, shards, ports."""

from dataclasses import dataclass

CLUSTER = "palaver"
CLICKHOUSE_ACCOUNT = "palaver"
# Of the archive, on each node; the archiver makes it
ARCHIVE_DATABASE = "palaver"
SHARDS = 5
# A schema each, and an account of the same name that reads no other
SCHEMAS = ("auth", "messenger")

MYSQL = "mysql"
REDIS = "redis"
# The node that has the Distributed tables, and no rows of its own
CLUSTER_NODE = "clickhouse-cluster"
SHARD_NODES = tuple(f"clickhouse-shard-{number}" for number in range(SHARDS))
CLICKHOUSE_NODES = (CLUSTER_NODE, *SHARD_NODES)
# In the order in which they are started
ENGINES = (*CLICKHOUSE_NODES, REDIS, MYSQL)

# Most memory of one query of a node, and of all. Merges and the process itself fit beside, within 1 GiB
QUERY_MEMORY = 402_653_184
SERVER_MEMORY = 805_306_368


@dataclass(frozen=True, slots=True)
class Address:
    """Where an engine listens. `http_port`: ClickHouse's health; 0 where there is none."""

    host: str
    port: int
    http_port: int = 0

    @property
    def ports(self) -> tuple[int, ...]:
        """All its ports."""
        return (self.port, self.http_port) if self.http_port else (self.port,)


@dataclass(frozen=True, slots=True)
class Topology:
    """Where each engine of a deployment is, by its name, as services reach it.

    `accounts_from`: the host of MySQL's accounts; `network`: from where ClickHouse's may come.
    """

    addresses: dict[str, Address]
    accounts_from: str
    network: str

    @property
    def shards(self) -> tuple[Address, ...]:
        """The ClickHouse shards, from 0."""
        return tuple(self.addresses[name] for name in SHARD_NODES)


# Ports in a block: MySQL, Redis, then ClickHouse's
REDIS_OFFSET = 1
CLICKHOUSE_OFFSET = 10
CLICKHOUSE_HTTP_OFFSET = 20
BLOCK = 26


def native_topology(first_port: int) -> Topology:
    """Engines on loopback, with their ports in one block."""
    host = "127.0.0.1"
    addresses = {MYSQL: Address(host, first_port), REDIS: Address(host, first_port + REDIS_OFFSET)}
    for number, name in enumerate(CLICKHOUSE_NODES):
        port = first_port + CLICKHOUSE_OFFSET + number
        addresses[name] = Address(host, port, first_port + CLICKHOUSE_HTTP_OFFSET + number)
    return Topology(addresses, accounts_from=host, network=host)


def docker_topology() -> Topology:
    """Engines in containers, each with its usual ports, under its name in the network of the deployment."""
    addresses = {MYSQL: Address(MYSQL, 3306), REDIS: Address(REDIS, 6379)}
    addresses |= {name: Address(name, 9000, 8123) for name in CLICKHOUSE_NODES}
    return Topology(addresses, accounts_from="%", network="::/0")
