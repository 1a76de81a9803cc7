"""The inside of a `palaver up`, as another user of the machine, and an operator, find it."""

import json
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import grpc.aio
import psutil
import pytest

from palaver.contracts import messenger_pb2 as pb
from palaver.contracts.messenger_pb2_grpc import MessengerStub
from palaver.runtime.deployment_secret import HEADER
from tests.harness.palaver_process import PalaverProcess, is_gone, running_palaver
from tests.harness.users import api_client
from tests.harness.waiting import wait_until

# All lines, all spans
EVERYTHING = {"PALAVER_TELEMETRY__LOG_LEVEL": "debug", "PALAVER_TELEMETRY__SAMPLE_RATIO": "1"}


@pytest.fixture(scope="module")
def palaver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PalaverProcess]:
    """One that writes down all that it can."""
    with running_palaver(tmp_path_factory.mktemp("palaver"), env=EVERYTHING) as running:
        yield running


async def talk(running: PalaverProcess, name: str) -> None:
    """Two users sign up and in, and talk: by this every private call is made."""
    async with api_client(running) as api:
        alice, bob = await api.sign_up(f"{name}Alice"), await api.sign_up(f"{name}Bob")
        chat_id = await alice.chat_with(bob)
        async with bob.socket_v2() as socket:
            await alice.send(chat_id, "hello")
            assert (await socket.receive_type("message"))["text"] == "hello"
        assert len(await bob.history(chat_id)) == 1


def secret_of(running: PalaverProcess) -> str:
    """The secret that it made."""
    return (running.data_dir / "secret").read_text().strip()


def mode_of(path: Path) -> int:
    """The permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


def tcp_ports(pid: int) -> list[int]:
    """The TCP ports that a process listens on."""
    found = psutil.Process(pid).net_connections("tcp")
    return [one.laddr.port for one in found if one.status == psutil.CONN_LISTEN]


async def test_what_is_private_is_on_no_tcp_port(palaver: PalaverProcess) -> None:
    """Every program and every user of the machine could connect to it."""
    ports = {service: tcp_ports(pid) for service, pid in palaver.pids.items()}
    assert (len(ports["auth"]), len(ports["messenger"])) == (1, 1), ports
    for port in (*ports["auth"], *ports["messenger"]):
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            for path, status in {"/healthz": 200, "/metrics": 200, "/revocations": 404}.items():
                async with session.get(path, headers={HEADER: secret_of(palaver)}) as response:
                    assert (path, response.status) == (path, status)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = MessengerStub(channel)  # type: ignore[no-untyped-call] # generated without types
            metadata = ((HEADER, secret_of(palaver)),)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.InspectMessage(pb.InspectMessageRequest(), metadata=metadata, timeout=5)
            assert caught.value.code() is not grpc.StatusCode.INVALID_ARGUMENT


async def test_only_its_owner_can_connect_and_only_with_the_secret(palaver: PalaverProcess) -> None:
    """Another user of the machine would be inside; or whoever gets hold of a socket by a hole elsewhere."""
    directory = palaver.data_dir / "sockets"
    assert mode_of(directory) == 0o700
    assert sorted(one.name for one in directory.iterdir()) == [
        "auth.sock",
        "messenger.sock",
        "streams.sock",
    ]
    assert [mode_of(one) & 0o077 for one in directory.iterdir()] == [0, 0, 0]
    assert mode_of(palaver.data_dir / "secret") == 0o600
    connector = aiohttp.UnixConnector(str(directory / "auth.sock"))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get("http://auth/revocations") as response,
    ):
        assert response.status == 401
    async with grpc.aio.insecure_channel(f"unix:{directory / 'messenger.sock'}") as channel:
        stub = MessengerStub(channel)  # type: ignore[no-untyped-call] # generated without types
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.InspectMessage(pb.InspectMessageRequest(), timeout=5)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_the_secret_is_shown_nowhere(palaver: PalaverProcess) -> None:
    """Who may read logs, or list processes, would be inside."""
    await talk(palaver, "Shown")
    secret = secret_of(palaver)
    for pid in (palaver.process.pid, *palaver.pids.values()):
        assert secret not in " ".join(psutil.Process(pid).cmdline())
    written = [path for path in palaver.data_dir.rglob("*") if path.is_file() and path.name != "secret"]
    assert {"gateway.log", "gateway.jsonl", "addresses.json"} <= {path.name for path in written}
    assert [path.name for path in written if secret.encode() in path.read_bytes()] == []
    assert secret not in palaver.output


@pytest.mark.parametrize("service", ["auth", "messenger"])
async def test_a_killed_service_comes_back_on_its_socket(tmp_path: Path, service: str) -> None:
    """What the killed process left there would keep its successor from listening."""
    with running_palaver(tmp_path) as running:
        running.wait_restarted(service, running.kill(service))
        wait_until(lambda: running.output.count("is ready again") == 1, "ready again")
        await talk(running, "Killed")


@pytest.mark.parametrize("depth", [0, 120], ids=["a short path", "a path too long for sockets"])
async def test_after_kill_9_the_same_directory_starts_again(tmp_path: Path, depth: int) -> None:
    """A power cut would leave a Palaver that does not start, or a private directory for each."""
    directory = tmp_path / ("d" * depth) if depth else tmp_path
    directory.mkdir(exist_ok=True)
    with running_palaver(directory) as running:
        family = [psutil.Process(pid) for pid in running.pids.values()]
        sockets = (running.data_dir / "sockets").resolve()
        secret = secret_of(running)
        running.stop(signal.SIGKILL)
    wait_until(lambda: all(map(is_gone, family)), "the services are gone")
    assert (sockets / "auth.sock").exists()
    with running_palaver(directory) as again:
        await talk(again, "Again")
        assert secret_of(again) == secret
        now = (again.data_dir / "sockets").resolve()
        assert mode_of(now) == 0o700
        assert (now == sockets) is (depth == 0)
        assert depth == 0 or not sockets.exists()
        assert again.stop() == 0
    assert not (again.data_dir / "sockets").is_symlink()
    assert not (again.data_dir / "sockets").exists()
    assert not now.exists()


async def test_two_run_side_by_side(palaver: PalaverProcess, tmp_path: Path) -> None:
    """The second would take the first one's sockets, and its callers."""
    with running_palaver(tmp_path) as other:
        await talk(other, "Other")
        await talk(palaver, "First")
        assert secret_of(other) != secret_of(palaver)


async def test_a_given_secret_is_used_and_not_kept(tmp_path: Path) -> None:
    """An operator's secret would lie in a file that nobody knows of."""
    with running_palaver(tmp_path, env={"PALAVER_SECRET": "given-" * 8}) as running:
        await talk(running, "Given")
        assert not (running.data_dir / "secret").exists()
        addresses = json.loads((running.data_dir / "addresses.json").read_text())
        assert addresses["auth"] == f"unix:{running.data_dir}/sockets/auth.sock"
