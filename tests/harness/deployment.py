"""A whole deployment for tests: native engines, and `palaver service` on them, two processes a service."""

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from palaver.infra.files import write_file
from palaver.infra.settings_file import merge, read_settings, toml_of
from tests.harness.infrastructure import Infrastructure, free_first_port, running_infrastructure
from tests.harness.palaver_process import CHEAP_PASSWORDS, is_gone
from tests.harness.processes import ChildProcess
from tests.harness.waiting import wait_until

REPLICAS = 2
# As `palaver.deployed` gives them to further processes
PORT_STEP = 10
# Six processes start at once; each takes seconds of a core
READY_SECONDS = 120.0


@dataclass
class Deployment:
    """Engines that answer. `first_port`: of the services on them, once they have ports."""

    engines: Infrastructure
    first_port: int = 0

    @property
    def gateways(self) -> list[int]:
        """The gateways' public ports."""
        return [self.first_port + PORT_STEP * number for number in range(REPLICAS)]

    @property
    def private_ports(self) -> list[int]:
        """The ports with metrics of all processes, of gateways first."""
        return [port + offset for offset in (1, 2, 3) for port in self.gateways]

    def command(self, *words: str) -> list[str]:
        """`palaver infra run WORDS`."""
        return self.engines.command("run", *words)

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Runs a command with the services' settings to its end."""
        return self.engines.run("run", *words)

    def write_settings(self, own: dict[str, Any]) -> None:
        """Adds an operator's own lines to the settings that `palaver infra up` has written."""
        path = self.engines.directory / "palaver.toml"
        write_file(path, toml_of(merge(read_settings(path), own)))

    def place_services(self) -> None:
        """Gives the services free ports."""
        first = self.first_port = free_first_port()
        self.write_settings(
            {
                "gateway": {"port": first, "private_port": first + 1},
                "auth": {"port": first + 2},
                "messenger": {"http_port": first + 3},
                "archive": {"http_port": first + 4},
            }
        )


@dataclass
class RunningServices(ChildProcess):
    """A `palaver service`, and the processes that it runs."""

    @property
    def children(self) -> list[psutil.Process]:
        """All that runs now."""
        return psutil.Process(self.process.pid).children()

    @property
    def urls(self) -> list[str]:
        """The gateways' base URLs, as it prints them."""
        return re.findall(r"API +(\S+)", self.output)

    def kill(self, service: str) -> None:
        """`kill -9` of one process of a service."""
        victim = next(one for one in self.children if one.cmdline()[3:4] == [service])
        victim.kill()
        wait_until(lambda: is_gone(victim), f"{victim} is gone")

    def press_ctrl_c(self) -> int:
        """Sends SIGINT as a terminal does: to all of its processes. Returns the exit code."""
        for process in [psutil.Process(self.process.pid), *self.children]:
            process.send_signal(signal.SIGINT)
        return self.stop()


@contextmanager
def running_deployment(directory: Path) -> Iterator[Deployment]:
    """Engines in a new directory until the block ends, with the settings of two processes a service."""
    with running_infrastructure(directory / "data") as engines:
        deployment = Deployment(engines)
        deployment.write_settings(
            {
                "service": {"gateways": REPLICAS, "messengers": REPLICAS, "auths": REPLICAS},
                # Each message has its trace
                "telemetry": {"sample_ratio": 1.0},
            }
        )
        yield deployment


@contextmanager
def running_services(deployment: Deployment, output_file: Path) -> Iterator[RunningServices]:
    """The services, ready, until the block ends."""
    # Not earlier: another program could have taken them by now
    deployment.place_services()
    running = RunningServices.start(
        deployment.command("service"), output_file, CHEAP_PASSWORDS, own_session=True
    )
    try:
        running.wait_for("Logs", READY_SECONDS)
        yield running
    finally:
        running.stop()
