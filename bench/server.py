"""The server under measurement: a fresh `palaver up`, and what its processes use."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import psutil

READY_SECONDS = 30.0
STOP_SECONDS = 15.0
SERVICES = ("gateway", "messenger", "auth")
# Sign-ups of users that a shape only needs to have: a password hash of full cost would take most of its time
CHEAP_HASHES = {"PALAVER_AUTH__ARGON2_TIME_COST": "1", "PALAVER_AUTH__ARGON2_MEMORY_KIB": "8"}


@dataclass(frozen=True)
class Usage:
    """What a process has used: CPU (user and system, all threads) in seconds, memory in bytes.

    `uss` is what its end would free; `pss` counts shared pages in shares.
    """

    cpu: float
    uss: int
    pss: int
    rss: int


class Server:
    """`palaver up` on a free port, with its data in `data_dir`.

    `source`: the `src` of another version of Palaver; None is the installed one.
    """

    def __init__(self, data_dir: Path, source: Path | None = None, settings: dict[str, str] | None = None):
        self.data_dir = data_dir
        self.address = ("127.0.0.1", free_port())
        self.log = data_dir.parent / f"{data_dir.name}.log"
        self._environ = {**os.environ, **(settings or {})}
        if source is not None:
            self._environ["PYTHONPATH"] = str(source)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Seconds until it was ready. Raises `RuntimeError` with the end of its output."""
        command = [sys.executable, "-m", "palaver", "up"]
        options = ["--data-dir", str(self.data_dir), "--port", str(self.address[1]), "--no-rate-limits"]
        begun = time.perf_counter()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command + options,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environ,
                cwd=self.data_dir.parent,
            )
        while not self._is_ready():
            if self._process.poll() is not None or time.perf_counter() - begun > READY_SECONDS:
                self.stop()
                raise RuntimeError(f"the server did not start:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.02)
        return time.perf_counter() - begun

    def usage(self) -> dict[str, Usage]:
        """What each service has used until now. Of several processes of a service, the sum."""
        used: dict[str, Usage] = {}
        assert self._process is not None
        for process in psutil.Process(self._process.pid).children(recursive=True):
            name = service_of(process)
            if name is None:
                continue
            one, others = process_usage(process), used.get(name, Usage(0, 0, 0, 0))
            used[name] = Usage(
                one.cpu + others.cpu, one.uss + others.uss, one.pss + others.pss, one.rss + others.rss
            )
        return used

    def cpu_seconds(self) -> dict[str, float]:
        """CPU seconds of each process until now; `up` is the one that started the others."""
        assert self._process is not None
        up = psutil.Process(self._process.pid)
        used = {"up": cpu_of(up)}
        for process in up.children():
            used[service_of(process) or "others"] = cpu_of(process)
        return used

    def stop(self) -> None:
        """Stops it in order, and kills what is left of it."""
        if self._process is None:
            return
        try:
            family = psutil.Process(self._process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            family = []
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for process in family:
            if process.is_running():
                process.kill()
        self._process = None

    def _is_ready(self) -> bool:
        host, port = self.address
        try:
            with urllib.request.urlopen(f"http://{host}:{port}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def process_usage(process: psutil.Process) -> Usage:
    """What one process has used until now."""
    memory = process.memory_full_info()
    return Usage(cpu_of(process), memory.uss, memory.pss, memory.rss)


def cpu_of(process: psutil.Process) -> float:
    """CPU seconds that one process has used until now, user and system."""
    times = process.cpu_times()
    return float(times.user + times.system)


def service_of(process: psutil.Process) -> str | None:
    """Which service a process is, by its command line."""
    try:
        words = process.cmdline()
    except psutil.NoSuchProcess:
        return None
    return next((name for name in SERVICES if name in words), None)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
