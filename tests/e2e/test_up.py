"""`palaver up`, with the real services."""

import json
import signal
import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.harness.palaver_process import SERVICES, PalaverProcess, is_gone, running_palaver, start_palaver
from tests.harness.waiting import wait_until
from tests.harness.websocket_client import WebSocketClient

ALICE = {
    "email": "alice@example.org",
    "password": "correct horse",
    "name": "Alice",
    "surname": "Liddell",
    "birthday": "1990-05-04T00:00:00Z",
    "sex": "female",
    "city": "Oxford",
    "interests": "croquet",
}


def call(running: PalaverProcess, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
    """Status and body of the gateway's answer."""
    request = urllib.request.Request(
        running.base_url + path,
        None if body is None else json.dumps(body).encode(),
        {"content-type": "application/json"},
        method=method,
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def sign_in(running: PalaverProcess) -> str:
    """Alice's access token."""
    status, body = call(running, "POST", "/auth/sign-in", {k: ALICE[k] for k in ("email", "password")})
    assert status == 200, body
    return json.loads(body)["access_token"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_all_and_is_no_failure(tmp_path: Path, number: signal.Signals) -> None:
    """Services would stay behind, or a service manager would report a failure at every stop."""
    with running_palaver(tmp_path) as running:
        pids = running.pids
        assert set(pids) == set(SERVICES)
        assert running.stop(number) == 0
        assert not [pid for pid in pids.values() if psutil.pid_exists(pid)]
        assert "did not stop in time" not in running.output


def test_what_is_shown_is_where_it_is(palaver: PalaverProcess) -> None:
    """A newcomer would be sent to pages that are not there."""
    assert call(palaver, "GET", "/docs")[0] == 200
    assert str(palaver.data_dir) in palaver.output
    for service in SERVICES:
        lines = palaver.log(service).splitlines()
        assert lines
        assert {json.loads(line)["service"] for line in lines} == {service}
    assert "Rate limits are off" in palaver.output


def test_rates_are_limited_without_the_option(tmp_path: Path) -> None:
    """A public server would run without limits, or a warning would cry wolf."""
    with running_palaver(tmp_path, rates=True, env={"PALAVER_AUTH__SIGN_UPS_PER_ADDRESS": "1"}) as running:
        assert "Rate limits" not in running.output
        assert call(running, "POST", "/auth/sign-up", ALICE)[0] == 200
        assert call(running, "POST", "/auth/sign-up", ALICE | {"email": "bob@example.org"})[0] == 429


def test_only_the_public_port_is_reached_from_beyond_loopback(palaver: PalaverProcess) -> None:
    """The network could reach private ports, which believe whoever calls."""
    for service, pid in palaver.pids.items():
        listening = {
            # gRPC writes its IPv4 address as an IPv6 one
            (c.laddr.ip.removeprefix("::ffff:"), c.laddr.port)
            for c in psutil.Process(pid).net_connections("inet")
            if c.status == psutil.CONN_LISTEN
        }
        public = {("0.0.0.0", int(palaver.base_url.rpartition(":")[2]))} if service == "gateway" else set()
        assert {(ip, port) for ip, port in listening if ip != "127.0.0.1"} == public, service
        # The gateway has its metrics there
        assert any(ip == "127.0.0.1" for ip, _ in listening), service


@pytest.mark.parametrize("service", SERVICES)
def test_a_killed_service_comes_back(palaver: PalaverProcess, service: str) -> None:
    """One crash would be an outage until somebody looks."""
    assert call(palaver, "POST", "/auth/sign-up", ALICE)[0] == 200
    others = {name: pid for name, pid in palaver.pids.items() if name != service}
    old = palaver.kill(service)
    assert palaver.wait_restarted(service, old) != old
    assert {name: pid for name, pid in palaver.pids.items() if name != service} == others
    assert sign_in(palaver)


def test_a_second_start_keeps_data(tmp_path: Path) -> None:
    """An update would cost all accounts."""
    with running_palaver(tmp_path) as running:
        assert call(running, "POST", "/auth/sign-up", ALICE)[0] == 200
    with running_palaver(tmp_path) as running:
        assert sign_in(running)


def test_a_killed_palaver_leaves_nothing_behind(tmp_path: Path) -> None:
    """The next start would meet the old services on its ports and databases."""
    with running_palaver(tmp_path) as running:
        services = [psutil.Process(pid) for pid in running.pids.values()]
        running.process.kill()
        running.process.wait()
        wait_until(lambda: all(is_gone(service) for service in services), "the services are gone")
        with running_palaver(tmp_path) as again:
            assert set(again.pids) == set(SERVICES)


def test_two_run_side_by_side(tmp_path: Path) -> None:
    """A trial of a new version would need a second machine."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with running_palaver(tmp_path / "a") as a, running_palaver(tmp_path / "b") as b:
        assert call(a, "POST", "/auth/sign-up", ALICE)[0] == 200
        assert call(b, "POST", "/auth/sign-up", ALICE)[0] == 200


def test_a_start_warns_of_nothing(palaver: PalaverProcess) -> None:
    """Operators would learn to pass over warnings, because every start has some that mean nothing."""
    lines = [
        json.loads(line) for service in SERVICES for line in palaver.log(service).splitlines() if line.strip()
    ]
    assert {line["service"] for line in lines} == set(SERVICES)
    assert [line for line in lines if line["level"] not in ("debug", "info")] == []


def test_one_directory_is_for_one(tmp_path: Path) -> None:
    """Two would write into the same databases."""
    with running_palaver(tmp_path) as running:
        (tmp_path / "second").mkdir()
        second = start_palaver(
            tmp_path / "second", arguments=["--data-dir", str(running.data_dir), "--port", "0"]
        )
        assert second.process.wait(30) == 1
        assert second.output == (
            f"palaver: data directory {running.data_dir} is in use by another `palaver up` "
            f"(process {running.process.pid})\n"
        )
        assert set(running.pids) == set(SERVICES)


def test_a_taken_port_starts_nothing(tmp_path: Path) -> None:
    """Half of the services would run, and the reason would be in a file."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        running = start_palaver(tmp_path, arguments=["--port", str(port)])
        assert running.process.wait(30) == 1
    assert (
        running.output == f"palaver: cannot listen on 0.0.0.0:{port} (gateway.port): Address already in use\n"
    )
    assert not list(running.data_dir.glob("*.db"))


def test_a_database_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    """An operator would look for the reason in three logs."""
    (tmp_path / "data").mkdir(mode=0o700)
    file = tmp_path / "data" / "auth.db"
    file.write_text("not a database " * 1000)
    running = start_palaver(tmp_path, arguments=["--port", "0"])
    try:
        assert running.process.wait(30) == 1
        assert running.output == (
            f"palaver: database {file} is not an SQLite database: restore a backup, or move it away\n"
        )
        assert not list(running.data_dir.glob("messenger.db*"))
    finally:
        running.stop()


def test_a_database_that_breaks_stops_everything_at_once(tmp_path: Path) -> None:
    """Services would be restarted ten times over a database that needs a hand."""
    with running_palaver(tmp_path) as running:
        file = running.data_dir / "messenger.db"
        for suffix in ("-wal", "-shm"):
            file.with_name(file.name + suffix).unlink()
        file.write_text("not a database " * 1000)
        running.kill("messenger")
        assert running.process.wait(30) == 1
        assert running.output.count("starting it again") == 1
        assert (
            f"palaver: database {file} is not an SQLite database: restore a backup, or move it away\n"
            in running.output
        )


async def test_stopping_tells_sockets_to_come_back(palaver: PalaverProcess) -> None:
    """Clients would take a restart for the end of their session, or come back all at once."""
    assert call(palaver, "POST", "/auth/sign-up", ALICE)[0] == 200
    token = sign_in(palaver)
    url = f"{palaver.ws_url}/messenger/ws?token={token}"
    socket = await WebSocketClient.connect(url)
    palaver.process.send_signal(signal.SIGTERM)
    assert await socket.receive_close(20) == 1012
    await socket.close()
    wait_until(lambda: palaver.process.poll() == 0, "a clean end")
