"""The replicas of a service, as they come and go in DNS."""

import asyncio
import socket
from typing import Any

import pytest
from prometheus_client import REGISTRY

from palaver.runtime.replicas import replicas as module
from palaver.runtime.replicas.replicas import MOST_REPLICAS, Replicas


class Dns:
    """What names stand for; one that stands for nothing is not known, and one of None is never answered."""

    def __init__(self) -> None:
        self.hosts: dict[str, list[str] | None] = {}

    async def getaddrinfo(self, host: str, port: int, **_: Any) -> list[Any]:
        """See `asyncio.loop.getaddrinfo`."""
        hosts = self.hosts.get(host, [])
        if hosts is None:
            await asyncio.Event().wait()
        if not hosts:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in hosts]


@pytest.fixture
def dns(monkeypatch: pytest.MonkeyPatch) -> Dns:
    """A DNS that is asked at each call."""
    dns = Dns()
    monkeypatch.setattr(module, "LOOKUP_SECONDS", 0.0)
    monkeypatch.setattr(module, "SEARCH_SECONDS", 0.0)
    monkeypatch.setattr(module, "FIRST_LOOKUP_SECONDS", 0.05)
    return dns


async def texts(replicas: Replicas, dns: Dns) -> set[str]:
    """Where replicas are now, once what is looked up is there."""
    loop: Any = asyncio.get_running_loop()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "getaddrinfo", dns.getaddrinfo)
        await replicas.in_order()
        await asyncio.sleep(0.01)
        return {address.text for address in await replicas.in_order()}


async def test_all_addresses_of_a_name_are_replicas_and_looked_up_again(dns: Dns) -> None:
    """A messenger that is added would get no gateway before those are restarted."""
    replicas = Replicas("messenger:10004,10.1.1.1:10004")
    dns.hosts["messenger"] = ["10.0.0.1", "10.0.0.2"]
    assert await texts(replicas, dns) == {"10.0.0.1:10004", "10.0.0.2:10004", "10.1.1.1:10004"}
    dns.hosts["messenger"] = ["10.0.0.2", "10.0.0.3"]
    assert await texts(replicas, dns) == {"10.0.0.2:10004", "10.0.0.3:10004", "10.1.1.1:10004"}


async def test_a_name_that_cannot_be_looked_up_keeps_its_addresses(dns: Dns) -> None:
    """While DNS is away nobody could be called, though all are there."""
    replicas = Replicas("messenger:10004")
    dns.hosts["messenger"] = ["10.0.0.1"]
    assert await texts(replicas, dns) == {"10.0.0.1:10004"}
    dns.hosts.clear()
    assert await texts(replicas, dns) == {"10.0.0.1:10004"}


async def test_one_name_that_hangs_hides_no_other(dns: Dns) -> None:
    """One misspelt name would keep a gateway from its messengers."""
    replicas = Replicas("nobody:10004,hangs:10004,messenger:10004")
    dns.hosts |= {"hangs": None, "messenger": ["10.0.0.1"]}
    assert await texts(replicas, dns) == {"10.0.0.1:10004"}


async def test_a_failed_replica_has_others_while_they_work() -> None:
    """A silent messenger would be given up with none to go to; or be kept with another one at hand."""
    replicas = Replicas("10.0.0.1:1,10.0.0.2:1")
    first, second = replicas.known
    assert replicas.has_other(first)
    replicas.note_failure(second)
    assert replicas.is_resting(second)
    assert not replicas.has_other(first)
    replicas.note_success(second)
    assert replicas.has_other(first)
    assert not Replicas("10.0.0.1:1").has_other(first)


async def test_metrics_name_the_replicas_that_are_known_and_no_others(dns: Dns) -> None:
    """Prometheus would get a new series with each deployment, and an alert for each replica of the past."""

    def up(target: str) -> float | None:
        return REGISTRY.get_sample_value(
            "palaver_replica_up", {"service": "test of metrics", "target": target}
        )

    replicas = Replicas("messenger:10004", "test of metrics")
    dns.hosts["messenger"] = ["10.0.0.1", "10.0.0.2"]
    await texts(replicas, dns)
    gone = next(address for address in replicas.known if address.host == "10.0.0.1")
    replicas.note_success(gone)
    assert up("10.0.0.1:10004") == 1
    replicas.note_failure(gone)
    assert up("10.0.0.1:10004") == 0
    dns.hosts["messenger"] = ["10.0.0.2"]
    await texts(replicas, dns)
    replicas.note_failure(gone)
    assert up("10.0.0.1:10004") is None
    dns.hosts["messenger"] = [f"10.0.1.{number}" for number in range(MOST_REPLICAS + 10)]
    assert len(await texts(replicas, dns)) == MOST_REPLICAS
