"""The engines of a deployment for tests: `palaver infra` on a directory and ports of the test's own."""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from palaver.infra.deployment import is_free
from palaver.infra.topology import BLOCK, Topology, native_topology
from palaver.runtime.ports import FREE_PORTS

SECONDS = 180


def free_first_port() -> int:
    """The first port of a block that is free, anywhere: other tests look for one too."""
    starts = range(FREE_PORTS.start, FREE_PORTS.stop - BLOCK, BLOCK)
    for first in secrets.SystemRandom().sample(starts, len(starts)):
        if all(is_free(first + offset) for offset in range(BLOCK)):
            return first
    raise AssertionError("there are no free ports")


@dataclass
class Infrastructure:
    """A data directory, and what `palaver infra` says of it."""

    data_dir: Path
    first_port: int = field(default_factory=free_first_port)

    @property
    def directory(self) -> Path:
        """Where the engines are."""
        return self.data_dir / "infra"

    @property
    def topology(self) -> Topology:
        """Where each engine listens."""
        return native_topology(self.first_port)

    @property
    def passwords(self) -> dict[str, Any]:
        """The passwords that were made."""
        found: dict[str, Any] = json.loads((self.directory / "passwords.json").read_text())
        return found

    @property
    def pids(self) -> dict[str, int]:
        """The processes that run, by the engine's name."""
        statuses = json.loads(self.run("status", "--json").stdout)
        return {one["name"]: one["pid"] for one in statuses if one["pid"]}

    def command(self, *words: str) -> list[str]:
        """`palaver infra WORDS` on this directory."""
        return [sys.executable, "-m", "palaver", "infra", *words, "--data-dir", str(self.data_dir)]

    def start_command(self) -> list[str]:
        """`palaver infra up`, as native processes on these ports."""
        return self.command("up", "--engines", "native", "--first-port", str(self.first_port))

    def run(self, *words: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Runs a command of `palaver infra` to its end."""
        return run(self.command(*words), variables)

    def up(self, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Runs `palaver infra up` to its end."""
        return run(self.start_command(), variables)

    def mysql(self, account: str, statement: str, *options: str) -> "subprocess.CompletedProcess[str]":
        """A statement by an account of MySQL."""
        defaults = f"--defaults-file={self.directory / 'mysql' / f'{account}.cnf'}"
        command = ["mariadb", defaults, *options, "--batch", "--skip-column-names"]
        return run([*command, "--execute", statement], {})

    def clickhouse(self, node: str, statement: str, password: str | None = None) -> str:
        """What a node of ClickHouse answers by HTTP."""
        port = self.topology.addresses[node].http_port
        account = f"palaver:{self.passwords['clickhouse'] if password is None else password}"
        command = ["curl", "--silent", "--user", account, f"http://127.0.0.1:{port}/"]
        return run([*command, "--data-binary", statement], {}).stdout.strip()

    def redis(self, *words: str, password: str = "") -> str:
        """What Redis answers to a command."""
        port = str(self.topology.addresses["redis"].port)
        variables = {"REDISCLI_AUTH": password} if password else {}
        return run(["redis-cli", "-p", port, *words], variables).stdout.strip()


def run(command: list[str], variables: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """Runs a command to its end, without Palaver's variables of ours."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PALAVER_")}
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        env={**environment, **variables},
    )


@contextmanager
def running_infrastructure(data_dir: Path) -> Iterator[Infrastructure]:
    """Engines that answer, in a new directory, until the block ends."""
    infrastructure = Infrastructure(data_dir)
    try:
        started = infrastructure.up()
        assert started.returncode == 0, started.stderr
        yield infrastructure
    finally:
        infrastructure.run("down")
