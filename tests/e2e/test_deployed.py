"""A deployment as its operator has it: real MariaDB and Redis, and two processes of each service."""

import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from palaver.infra.topology import ENGINES
from tests.harness.deployment import (
    Deployment,
    RunningServices,
    running_deployment,
    running_services,
)
from tests.harness.palaver_process import is_gone
from tests.harness.users import ApiClient, ApiUser, v2_send
from tests.harness.walkthrough import blocks_for_port, walk_through

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "deploy.md"
# What the page shows of `migrate` and of `service`
SHOWN = re.compile(
    r"```sh\npalaver infra run (migrate|service) --data-dir /tmp/\S+\n```\n\n```\n(.*?)```", re.DOTALL
)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Engines, migrated as the page says."""
    with running_deployment(tmp_path_factory.mktemp("deployed")) as running:
        migrated = running.run("migrate")
        assert (migrated.returncode, migrated.stderr) == (0, "")
        assert migrated.stdout == shown_by_the_page("migrate")
        yield running


@pytest.fixture(scope="module")
def services(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServices]:
    """Two processes of each service, ready. The file's last test stops them."""
    with running_services(deployment, tmp_path_factory.mktemp("services") / "service.out") as running:
        yield running


@pytest.fixture
async def gateways(services: RunningServices) -> AsyncIterator[list[ApiClient]]:
    """Both gateways."""
    async with aiohttp.ClientSession() as http:
        yield [ApiClient(http, url, url.replace("http", "ws")) for url in services.urls]


def shown_by_the_page(command: str) -> str:
    """What the page says that a command prints."""
    return dict(SHOWN.findall(PAGE.read_text()))[command]


def test_the_page_shows_what_service_prints(deployment: Deployment, services: RunningServices) -> None:
    """An operator would wait for a line that never comes, or call a gateway at a wrong address."""
    shown = shown_by_the_page("service").replace("/tmp/deployment", str(deployment.engines.data_dir))
    for written, port in zip((10000, 10010), deployment.gateways, strict=True):
        shown = shown.replace(f":{written}", f":{port}")
    seconds = r"after [\d.]+ s"
    assert re.sub(seconds, "", services.output) == re.sub(seconds, "", shown)


@pytest.mark.usefixtures("services")
def test_the_walkthrough_works_across_gateways(deployment: Deployment) -> None:
    """Whoever followed the page on a deployment would get stuck, or their messages at the other gateway."""
    here, there = (blocks_for_port(str(port)) for port in deployment.gateways)
    walk_through(here, there)


async def test_every_process_is_ready_and_measured(deployment: Deployment, gateways: list[ApiClient]) -> None:
    """Load balancers would pass a healthy gateway over, or nobody would see what a process does."""
    for gateway in gateways:
        ready = (await gateway.call("GET", "/readyz")).ok()
        assert ready == {"ready": True, "parts": {"auth": True, "messenger": True}, "failing": []}
    async with aiohttp.ClientSession() as http:
        for port in deployment.private_ports:
            async with http.get(f"http://127.0.0.1:{port}/metrics") as answer:
                assert "\npalaver_" in await answer.text()


async def two_friends(gateways: list[ApiClient]) -> tuple[ApiUser, ApiUser, str]:
    """A user at each gateway, and the id of their chat."""
    alice, bob = await gateways[0].sign_up("Alice"), await gateways[1].sign_up("Bob")
    return alice, bob, await alice.chat_with(bob)


async def test_a_killed_messenger_costs_a_pause(
    deployment: Deployment, services: RunningServices, gateways: list[ApiClient]
) -> None:
    """Half of all users would be cut off, or lose messages, whenever one process of the service dies."""
    alice, bob, chat_id = await two_friends(gateways)
    async with alice.socket_v2() as first, bob.socket_v2() as second:
        services.kill("messenger")
        # The same two sockets, and messages from each gateway to the other
        for sender, receiver in ((first, second), (second, first)):
            sender.send(v2_send(chat_id, "Still here?"))
            sent = await sender.receive_type("sent")
            assert (await receiver.receive_type("message"))["id"] == sent["id"]
        # While the killed one may still be away
        traced = deployment.run("trace", "--json", "--message", chat_id, "1")
        assert (traced.returncode, traced.stderr) == (0, "")
    assert [one["seq"] for one in await bob.history(chat_id)] == [1, 2]
    services.wait_for("messenger(-2)? is ready again")


async def test_a_message_is_followed_from_gateway_to_gateway(
    deployment: Deployment, gateways: list[ApiClient]
) -> None:
    """Nobody could say where a message between two gateways was late, or which of two got it."""
    alice, bob, chat_id = await two_friends(gateways)
    async with alice.socket_v2() as sender, bob.socket_v2() as receiver:
        sender.send(v2_send(chat_id, "Hello"))
        await receiver.receive_type("message")
    found = json.loads(deployment.run("trace", "--json", "--message", chat_id, "1").stdout)
    spans = {span["name"]: span.get("instance", span["service"]) for span in found["spans"]}
    assert (spans["receive message"], spans["deliver message"]) == ("gateway", "gateway-2")
    assert spans["journal message"] in ("messenger", "messenger-2")
    assert [one["user_id"] for one in found["message"]["told"]] == [bob.user_id]
    # Bob was signed up at the second gateway
    lines = deployment.run("logs", "--user", bob.user_id).stdout
    assert "gateway" in lines
    assert "instance=gateway-2" in lines


def test_ctrl_c_stops_the_services_alone(deployment: Deployment, services: RunningServices) -> None:
    """An update of the services would take the databases away, or leave processes that hold the ports."""
    children = services.children
    assert len(children) == 7
    assert services.press_ctrl_c() == 0
    assert all(map(is_gone, children))
    assert services.output.endswith("Stopping …\n")
    assert list(deployment.engines.pids) == list(ENGINES)


def test_services_refuse_a_newer_schema(deployment: Deployment, services: RunningServices) -> None:
    """An old release that is started by mistake would write rows that the new one cannot read."""
    assert services.process.poll() is not None
    newer = "UPDATE alembic_version SET version_num = '9999'"
    assert deployment.engines.mysql("messenger", newer, "messenger").returncode == 0
    refused = deployment.run("service")
    assert refused.returncode == 1
    assert refused.stderr.startswith("palaver: ")
    assert "has schema 9999" in refused.stderr
