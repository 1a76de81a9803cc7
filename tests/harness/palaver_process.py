"""Starts a whole Palaver for a test: `palaver up` on free ports, in a directory of its own."""

import contextlib
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.harness.processes import ChildProcess
from tests.harness.waiting import wait_until

SERVICES = ("gateway", "messenger", "auth")
# Passwords hashed so cheaply would be unsafe, and make tests quick
CHEAP_PASSWORDS = {"PALAVER_AUTH__ARGON2_TIME_COST": "1", "PALAVER_AUTH__ARGON2_MEMORY_KIB": "64"}


@dataclass
class PalaverProcess(ChildProcess):
    """A `palaver up`, and the services that it runs."""

    base_url: str = ""

    @property
    def data_dir(self) -> Path:
        """Where its data is."""
        return self.output_file.parent / "data"

    @property
    def ws_url(self) -> str:
        """The base of socket addresses."""
        return self.base_url.replace("http", "ws", 1)

    @property
    def pids(self) -> dict[str, int]:
        """The process of each service that runs now."""
        return services_of(self.process.pid)

    def log(self, service: str) -> str:
        """A service's log so far."""
        return (self.data_dir / "logs" / f"{service}.log").read_text(errors="replace")

    def kill(self, service: str) -> int:
        """`kill -9` of a service. Returns the process id that it had, which is gone."""
        pid = self.pids[service]
        victim = psutil.Process(pid)
        victim.kill()
        wait_until(lambda: is_gone(victim), f"{pid} is gone")
        return pid

    def wait_for_output(self, text: str, times: int = 1) -> None:
        """Returns when `palaver up` has printed `text` so often."""
        wait_until(
            lambda: self.output.count(text) >= times or self.process.poll() is not None,
            f"{text!r} in:\n{self.output}",
        )
        assert self.output.count(text) >= times, f"palaver up ended without {text!r}:\n{self.output}"

    def wait_restarted(self, service: str, old_pid: int) -> int:
        """Returns the new process id of a killed service, once it is ready."""
        wait_until(lambda: self.pids.get(service, old_pid) != old_pid, f"{service} runs again")
        times = len(re.findall(rf"{service} (?:was ended|ended with)", self.output))
        self.wait_for_output(f"{service} is ready again", times)
        return self.pids[service]


def is_gone(process: psutil.Process) -> bool:
    """Whether a process has ended, reaped or not."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def services_of(pid: int) -> dict[str, int]:
    """Process ids by service of a `palaver up`."""
    found = {}
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(pid).children():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                words = child.cmdline()
                # A child that was forked but has not become another program yet looks like its parent
                if words[1:3] == ["-m", "palaver"] and words[3] in SERVICES:
                    found[words[3]] = child.pid
    return found


def start_palaver(
    directory: Path,
    *,
    env: Mapping[str, str] | None = None,
    arguments: Sequence[str] = (),
    open_files: int | None = None,
) -> PalaverProcess:
    """Starts `palaver up ARGUMENTS` with `directory/data`, without waiting for it to be ready.

    `open_files`: the hard limit of open files of each process.
    """
    limited = ["sh", "-c", 'ulimit -n "$0" && exec "$@"', str(open_files)] if open_files else []
    return PalaverProcess.start(
        [*limited, sys.executable, "-m", "palaver", "up", "--data-dir", str(directory / "data"), *arguments],
        directory / "up.out",
        {**CHEAP_PASSWORDS, **(env or {})},
        own_session=True,
    )


@contextlib.contextmanager
def running_palaver(
    directory: Path,
    *,
    env: Mapping[str, str] | None = None,
    rates: bool = False,
    arguments: Sequence[str] = ("--port", "0"),
    open_files: int | None = None,
) -> Iterator[PalaverProcess]:
    """A Palaver that is ready, on free ports, with its data in `directory/data`, until the block ends.

    `rates`: whether it limits rates. `env`: settings. The same directory again finds the same data.
    """
    running = start_palaver(
        directory,
        env=env,
        arguments=[*arguments, *(() if rates else ("--no-rate-limits",))],
        open_files=open_files,
    )
    try:
        running.wait_for_output("Logs")
        running.base_url = running.wait_for(r"API +(\S+)")[1].replace("localhost", "127.0.0.1")
        yield running
    finally:
        running.stop()
