"""ClickHouse behind the port, where it does not do what it is asked."""

import asyncio
import socket
import time

import pytest

from palaver.messenger.archive.clickhouse import Access, ClickHouseNodes
from palaver.messenger.archive.nodes import Address, NodeAwayError, NodeError
from tests.harness.clickhouse import PASSWORD, USER, ClickHouseCluster

SILENT_SECONDS = 1.0


def node_of(cluster: ClickHouseCluster) -> Address:
    """The cluster's own node."""
    return Address("127.0.0.1", cluster.node.port)


async def test_a_silent_node_holds_up_nobody_else(clickhouse: ClickHouseCluster) -> None:
    """One node that takes connections and does not answer would hold all threads, and with them all
    histories."""
    nodes = ClickHouseNodes(Access(USER, PASSWORD), 4, SILENT_SECONDS)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        dead = Address("127.0.0.1", silent.getsockname()[1])
        began = time.monotonic()
        stuck = [asyncio.create_task(nodes.select(dead, "SELECT 1")) for _ in range(50)]
        await asyncio.sleep(0)
        answers = await asyncio.gather(*(nodes.select(node_of(clickhouse), "SELECT 2") for _ in range(50)))
        assert answers == [[(2,)]] * 50
        assert not any(task.done() for task in stuck)
        failures = await asyncio.gather(*stuck, return_exceptions=True)
        assert all(isinstance(failure, NodeAwayError) for failure in failures)
        # Not one after the other
        assert time.monotonic() - began < 50 * SILENT_SECONDS
        assert nodes.is_away(dead)
        assert not nodes.is_away(node_of(clickhouse))
    await nodes.close()


async def test_a_refused_statement_says_nothing_of_its_text(clickhouse: ClickHouseCluster) -> None:
    """Texts of messages would reach logs with the statement; or one wrong statement close a node to all."""
    nodes = ClickHouseNodes(Access(USER, PASSWORD), 2, 5.0)
    with pytest.raises(NodeError) as caught:
        await nodes.select(node_of(clickhouse), "SELECT 'a secret' FROM nowhere")
    assert not isinstance(caught.value, NodeAwayError)
    assert "secret" not in str(caught.value)
    assert not nodes.is_away(node_of(clickhouse))
    assert await nodes.select(node_of(clickhouse), "SELECT 1") == [(1,)]
    await nodes.close()


async def test_a_wrong_password_is_an_error_of_the_node(clickhouse: ClickHouseCluster) -> None:
    """It would be taken for an internal error, and nobody would look at the setting."""
    nodes = ClickHouseNodes(Access(USER, "wrong"), 2, 5.0)
    with pytest.raises(NodeError, match="ServerException 193"):
        await nodes.select(node_of(clickhouse), "SELECT 1")
    await nodes.close()
