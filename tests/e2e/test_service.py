"""`palaver service`, with real services in several processes."""

import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import psutil
import pytest

from tests.harness.infrastructure import free_first_port
from tests.harness.palaver_process import CHEAP_PASSWORDS, is_gone
from tests.harness.processes import ChildProcess
from tests.harness.users import ApiClient
from tests.harness.waiting import wait_until


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Settings of two gateways, on ports of the test's own."""
    first = free_first_port()
    found = tmp_path / "palaver.toml"
    found.write_text(
        f'data_dir = "{tmp_path / "data"}"\n'
        f"[service]\ngateways = 2\n"
        f"[gateway]\nport = {first}\nprivate_port = {first + 1}\n"
        f"[auth]\nport = {first + 2}\n"
        f"[messenger]\nhttp_port = {first + 3}\n"
    )
    return found


@pytest.fixture
def service(config: Path, tmp_path: Path) -> Iterator[ChildProcess]:
    """The services, ready."""
    command = [sys.executable, "-m", "palaver", "service", "--config", str(config)]
    running = ChildProcess.start(command, tmp_path / "service.out", CHEAP_PASSWORDS, own_session=True)
    try:
        running.wait_for("Logs")
        yield running
    finally:
        running.stop()


async def test_two_gateways_are_one_deployment(service: ChildProcess) -> None:
    """A client that reaches the other gateway would not be known there, or would miss messages."""
    urls = [line.split()[1] for line in service.output.splitlines() if " API " in line]
    assert len(urls) == 2
    async with aiohttp.ClientSession() as http:
        first, second = (ApiClient(http, url, url.replace("http", "ws")) for url in urls)
        alice, bob = await first.sign_up("Alice"), await second.sign_up("Bob")
        chat_id = await alice.chat_with(bob)
        async with bob.socket_v2() as socket:
            await alice.send(chat_id, "Hello")
            assert (await socket.receive_type("message"))["text"] == "Hello"


def test_a_dead_gateway_comes_back_and_all_stop_together(service: ChildProcess) -> None:
    """Half of the clients would stay outside, or a stopped deployment would hold its ports."""
    children = psutil.Process(service.process.pid).children()
    gateways = [one for one in children if one.cmdline()[3:4] == ["gateway"]]
    assert (len(children), len(gateways)) == (4, 2)
    gateways[1].kill()
    service.wait_for("gateway(-2)? is ready again")
    children = psutil.Process(service.process.pid).children()
    assert service.stop() == 0
    for child in children:
        wait_until(lambda child=child: is_gone(child), f"{child} is gone")
