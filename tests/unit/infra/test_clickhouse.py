"""ClickHouse nodes: what is written for them. Their real servers are in tests/e2e."""

import hashlib
from pathlib import Path
from xml.etree import ElementTree

import pytest

from palaver.infra.clickhouse import ClickhouseEngine, root_of, server_xml, users_xml
from palaver.infra.credentials import Credentials, credentials_in
from palaver.infra.engine import NotReadyError, Place
from palaver.infra.topology import Address, docker_topology, native_topology


@pytest.fixture
def credentials(tmp_path: Path) -> Credentials:
    """Passwords of the test's own."""
    return credentials_in(tmp_path)


def test_the_cluster_has_its_shards_in_order(credentials: Credentials) -> None:
    """The archive would look for a chat on another shard than where it is."""
    topology = native_topology(23_300)
    text = server_xml("clickhouse-cluster", "yandex", topology, credentials)
    shards = ElementTree.fromstring(text).findall("remote_servers/palaver/shard/replica")
    assert [shard.findtext("port") for shard in shards] == [str(one.port) for one in topology.shards]
    assert {shard.findtext("user") for shard in shards} == {"palaver"}
    assert {shard.findtext("password") for shard in shards} == {credentials.clickhouse}


def test_a_shard_knows_no_other(credentials: Credentials) -> None:
    """Each node's files would hold the password in plain text."""
    text = server_xml("clickhouse-shard-0", "clickhouse", docker_topology(), credentials)
    assert ElementTree.fromstring(text).find("remote_servers") is None
    assert credentials.clickhouse not in text


def test_a_node_stays_within_its_memory(credentials: Credentials) -> None:
    """Six nodes would take all memory of a machine."""
    topology = docker_topology()
    server = ElementTree.fromstring(server_xml("clickhouse-shard-0", "yandex", topology, credentials))
    users = ElementTree.fromstring(users_xml("yandex", topology, credentials))
    assert int(server.findtext("max_server_memory_usage", "")) < 2**30
    assert int(users.findtext("profiles/default/max_memory_usage_for_all_queries", "")) < 2**30
    assert int(server.findtext("mark_cache_size", "")) <= 2**26


@pytest.mark.parametrize("root", ["yandex", "clickhouse"])
def test_few_merges_run_at_once_and_of_any_size(credentials: Credentials, root: str) -> None:
    """Long texts would take more memory than a node has; or their parts would stay small, and be too many."""
    topology = docker_topology()
    server = ElementTree.fromstring(server_xml("clickhouse-shard-0", root, topology, credentials))
    users = ElementTree.fromstring(users_xml(root, topology, credentials))
    assert server.findtext("background_pool_size") == "2"
    assert users.findtext("profiles/default/background_pool_size") == "2"
    needed = {one.tag: one.text for one in server.findall("merge_tree/*")}
    assert needed["number_of_free_entries_in_pool_to_lower_max_size_of_merge"] == "1"
    assert set(needed.values()) == {"1"}


@pytest.mark.parametrize("added", [True, False])
def test_there_is_no_account_without_a_password(credentials: Credentials, added: bool) -> None:
    """Everybody in the network of a deployment could read and delete the archive."""
    text = users_xml("clickhouse", docker_topology(), credentials, added=added)
    users = ElementTree.fromstring(text).find("users")
    assert users is not None
    for user in users:
        digest = user.findtext("password_sha256_hex")
        assert user.get("remove") or digest == hashlib.sha256(credentials.clickhouse.encode()).hexdigest()
    assert [user.tag for user in users] == (["default", "palaver"] if added else ["palaver"])


@pytest.mark.parametrize(
    ("version", "root"),
    [("18.16.1", "yandex"), ("21.9.1", "yandex"), ("21.10.1", "clickhouse"), ("25.8", "clickhouse")],
)
def test_the_root_element_is_the_releases(version: str, root: str) -> None:
    """A node would not start on its own configuration."""
    assert root_of(version) == root


def test_a_node_that_is_not_there_is_not_ready(credentials: Credentials, tmp_path: Path) -> None:
    """A start would end before services can connect."""
    place = Place("clickhouse-shard-0", tmp_path, Address("127.0.0.1", 1, 2))
    engine = ClickhouseEngine(place, native_topology(23_300), credentials)
    with pytest.raises(NotReadyError, match="refused"):
        engine.ask_version()
    assert engine.installed_version().count(".") == 2
