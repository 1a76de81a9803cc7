"""Child processes are kept running and stopped in order, shown with small programs in the services' place."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from palaver.runtime.child_process import is_ready
from tests.harness.palaver_process import wait_until

# Answers every request 200. Writes its name to a file when it is told to stop. `stubborn` ignores that.
STAND_IN = """
import signal, socketserver, sys, os, threading
name, port, order, kind, parent = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4], int(sys.argv[5])
from palaver.runtime.child_process import die_with_parent
die_with_parent(parent)
if kind == "broken":
    sys.exit("the disk of " + name + " is on fire")
class Answer(socketserver.StreamRequestHandler):
    def handle(self):
        while self.rfile.readline().strip():
            pass
        self.wfile.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
server = Server(("127.0.0.1", port), Answer)
def stop(*_):
    if kind == "stubborn":
        return
    def leave():
        import time
        time.sleep(0.2)
        with open(order, "a") as file:
            file.write(name + "\\n")
        os._exit(0)
    threading.Thread(target=leave).start()
signal.signal(signal.SIGTERM, stop)
server.serve_forever(0.02)
"""

SUPERVISOR = """
import asyncio, json, os, sys
from pathlib import Path
import palaver.runtime.restart_policy as restarts, palaver.runtime.supervision as supervision
from palaver.runtime.child_process import Child
plan = json.loads(sys.argv[1])
restarts.FIRST_PAUSE, restarts.MOST_DEATHS = 0.01, 3
supervision.HURRY_AFTER_SECONDS = plan["hurry_after"]
children = [
    Child(
        name,
        [sys.executable, plan["stand_in"], name, str(port), plan["order"], kind, str(os.getpid())],
        Path(plan["directory"]) / f"{name}.log",
        "127.0.0.1", port, plan["stop_seconds"], dict(os.environ),
    )
    for name, port, kind in plan["children"]
]
def say(text):
    print(text, flush=True)
sys.exit(asyncio.run(supervision.supervise(children, say, lambda: say("all ready"))))
"""


@dataclass
class Supervised:
    """A supervisor's process."""

    process: "subprocess.Popen[bytes]"
    directory: Path
    names: list[str]

    @property
    def output(self) -> str:
        """What it has said."""
        return (self.directory / "out").read_text()

    def says(self, text: str) -> None:
        """Waits until it has said so."""
        wait_until(lambda: text in self.output, f"{text!r} in {self.output!r}")

    def child(self, name: str) -> psutil.Process:
        """A child's process."""
        for child in psutil.Process(self.process.pid).children():
            if name in child.cmdline():
                return child
        raise AssertionError(f"{name} does not run")

    def order(self) -> list[str]:
        """Who was told to stop and did, in order."""
        return (self.directory / "order").read_text().split()


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[object]:
    """Starts a supervisor of children `{name: kind}`."""
    stand_in = tmp_path / "stand_in.py"
    stand_in.write_text(STAND_IN)
    (tmp_path / "order").touch()
    started: list[Supervised] = []

    def start(children: dict[str, str], stop_seconds: float = 20.0, hurry_after: float = 1.0) -> Supervised:
        plan = {
            "stand_in": str(stand_in),
            "order": str(tmp_path / "order"),
            "directory": str(tmp_path),
            "stop_seconds": stop_seconds,
            "hurry_after": hurry_after,
            "children": [(name, free_port(), kind) for name, kind in children.items()],
        }
        with (tmp_path / "out").open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-c", SUPERVISOR, json.dumps(plan)], stdout=out, stderr=subprocess.STDOUT
            )
        started.append(Supervised(process, tmp_path, list(children)))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
        each.process.wait()


def test_children_are_stopped_in_order(supervised) -> None:
    """The messenger would go while the gateway still has sends for it."""
    up = supervised({"a": "good", "b": "good", "c": "good"})
    up.says("all ready")
    up.process.terminate()
    assert up.process.wait(20) == 0
    assert up.order() == ["a", "b", "c"]


def test_a_signal_that_comes_twice_at_once_still_drains(supervised) -> None:
    """`timeout palaver up` would cut every socket off, for it sends its signal twice."""
    up = supervised({"a": "good", "b": "good"})
    up.says("all ready")
    up.process.send_signal(signal.SIGINT)
    up.says("Stopping")
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(20) == 0
    assert up.order() == ["a", "b"]


def test_a_child_that_does_not_stop_is_killed(supervised) -> None:
    """One hanging service would keep the machine from shutting down."""
    up = supervised({"a": "stubborn", "b": "good"}, stop_seconds=1.0)
    up.says("all ready")
    up.process.terminate()
    assert up.process.wait(20) == 0
    assert up.order() == ["b"]
    assert "a[/] did not stop in time" in up.output


def test_a_later_second_signal_stops_at_once(supervised) -> None:
    """An operator who presses Ctrl-C again would have to wait for a hanging service."""
    up = supervised({"a": "stubborn"}, stop_seconds=600.0, hurry_after=0.0)
    up.says("all ready")
    up.process.send_signal(signal.SIGINT)
    up.says("Stopping")
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(20) == 0


def test_a_dead_child_is_started_again(supervised) -> None:
    """Users would be without messages until somebody looks."""
    up = supervised({"a": "good", "b": "good"})
    up.says("all ready")
    other, first = up.child("a").pid, up.child("b")
    first.kill()
    up.says("b[/] was ended by SIGKILL; starting it again in 0.01 s.")
    up.says("b[/] is ready again")
    assert up.child("b").pid != first.pid
    assert up.child("a").pid == other


def test_a_child_that_dies_again_and_again_is_given_up(supervised) -> None:
    """A service that cannot run would be restarted for ever, and what watches over us would see all well."""
    up = supervised({"a": "good", "b": "good"})
    up.says("all ready")
    for times in range(3):
        wait_until(lambda n=times: up.output.count("b[/] is ready again") == n, "b is ready")
        up.child("b").kill()
    assert up.process.wait(20) == 1
    assert "palaver: b was ended by SIGKILL again and again" in up.output
    assert up.order() == ["a"]


def test_a_child_that_never_was_ready_stops_all(supervised) -> None:
    """A broken start would leave half of the services running, and hide its reason in a file."""
    up = supervised({"a": "good", "b": "broken"})
    assert up.process.wait(20) == 1
    assert "palaver: b ended with code 1 before it was ready." in up.output
    assert "the disk of b is on fire" in up.output
    assert "all ready" not in up.output


def test_children_are_gone_with_a_killed_supervisor(supervised) -> None:
    """Services would hold ports and databases, and the next start would fail."""
    up = supervised({"a": "good", "b": "stubborn"})
    up.says("all ready")
    children = [up.child("a"), up.child("b")]
    up.process.kill()
    wait_until(
        lambda: all(not c.is_running() or c.status() == psutil.STATUS_ZOMBIE for c in children),
        "children are gone",
    )


def test_a_terminal_reaches_only_the_supervisor(supervised) -> None:
    """Ctrl-C would stop all services at once, without order."""
    up = supervised({"a": "good"})
    up.says("all ready")
    assert os.getsid(up.child("a").pid) not in (os.getsid(up.process.pid), os.getsid(0))


async def test_nobody_there_is_not_ready() -> None:
    """`palaver up` would say ready before anything listens."""
    assert not await is_ready("127.0.0.1", free_port())
