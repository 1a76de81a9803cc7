"""Rounds of a bench: fresh servers, load processes, and figures out of both."""

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import psutil

from bench.figures import Figures, Limit, at_most
from bench.report import OTHERS
from bench.server import CHEAP_HASHES, Server, Usage, process_usage

COLD_START = at_most(3)
# More than this of other programs spoils a run
MUCH_CORES = 0.1
_names = count(1)


@dataclass
class Loaded:
    """What a load process said, and what the server used between its `begin` and its `end`.

    `middle`: what it had used at a line `middle`, where there was one. `others`: CPU seconds of everything
    else on this machine meanwhile.
    """

    result: dict[str, Any]
    before: dict[str, Usage]
    after: dict[str, Usage]
    middle: dict[str, Usage] = field(default_factory=dict)
    others: float = 0.0

    def cpu(self, service: str) -> float:
        """CPU seconds of a service."""
        if service not in self.after or service not in self.before:
            return 0.0
        return self.after[service].cpu - self.before[service].cpu

    @property
    def rate(self) -> float:
        """Messages, or requests, a second."""
        return float(self.result["messages"] / self.result["seconds"])


@dataclass
class Bench:
    """How often and how long to measure, what, and what came out.

    `sources`: a suffix of shape names for each version that is measured, and its `src` (None: installed).
    `beside`: the other server that runs in turn with them, or nothing.
    """

    runs: int
    quick: bool
    root: Path
    sources: dict[str, Path | None]
    beside: str = ""
    figures: Figures = field(default_factory=Figures)

    def rounds(self) -> Iterator[tuple[str, Path | None]]:
        """Every run of every version, in turn, so that the machine's moods meet all of them."""
        for _ in range(self.runs):
            yield from self.sources.items()

    def seconds(self, usual: float, quick: float) -> float:
        """How long to measure."""
        return quick if self.quick else usual

    @contextlib.contextmanager
    def server(self, source: Path | None, settings: dict[str, str] = CHEAP_HASHES) -> Iterator[Server]:
        """A fresh server with no data, stopped at the end."""
        with self.stopped_server(source, settings) as server:
            took = server.start()
            self.figures.add("start", "cold start to ready", "s", took, COLD_START)
            yield server

    @contextlib.contextmanager
    def stopped_server(
        self, source: Path | None, settings: dict[str, str] = CHEAP_HASHES
    ) -> Iterator[Server]:
        """A server with no data that nobody has started yet. What runs is stopped at the end."""
        with tempfile.TemporaryDirectory(dir=self.root) as directory:
            server = Server(Path(directory) / "data", source, settings)
            try:
                yield server
            finally:
                server.stop()

    @contextlib.contextmanager
    def servers(self) -> Iterator[dict[str, Server]]:
        """A server of each version, side by side, for shapes that need much data before they begin."""
        with contextlib.ExitStack() as stack:
            yield {
                suffix: stack.enter_context(self.server(source)) for suffix, source in self.sources.items()
            }

    def load(self, server: Server, load: str, **options: Any) -> Loaded:
        """Runs one load against a server."""
        options.setdefault("name", f"bench{next(_names)}")
        return run_load(load, server.address, options, server.usage)

    def say(self, line: str) -> None:
        """Tells whoever waits."""
        print(line, file=sys.stderr, flush=True)

    def add_rate(self, shape: str, what: str, loaded: Loaded, asked: Limit | None = None) -> None:
        """The rate of a run."""
        self.figures.add(shape, "rate", f"{what}/s", loaded.rate, asked)
        self.say(f"  {shape}: {loaded.rate:,.0f} {what}/s, {loaded.result.get('latency_ms')}")

    def add_latency(self, shape: str, loaded: Loaded, **asked: Limit) -> None:
        """p50, p99 and the greatest latency of a run; `asked` by their names."""
        for name, value in loaded.result["latency_ms"].items():
            self.figures.add(shape, name, "ms", value, asked.get(name))

    def add_cpu(self, shape: str, what: str, loaded: Loaded) -> None:
        """CPU seconds per 1,000 messages or requests, of each process."""
        thousands = loaded.result["messages"] / 1000 or 1
        for service in loaded.after:
            self.figures.add(shape, f"cpu {service}", f"s/1,000 {what}", loaded.cpu(service) / thousands)
        own = loaded.result["load_cpu_seconds"] / thousands
        self.figures.add(shape, "cpu load", f"s/1,000 {what}", own)
        cores = loaded.others / loaded.result["seconds"]
        self.figures.add(shape, OTHERS, "cores", cores)
        if cores > MUCH_CORES:
            self.say(f"  other programs used {cores:.2f} cores meanwhile: distrust this run")


def run_load(
    load: str,
    address: tuple[str, int],
    options: dict[str, Any],
    usage: Callable[[], dict[str, Usage]] = dict,
) -> Loaded:
    """Runs a load process. Raises `RuntimeError` where it fails."""
    command = [sys.executable, "-m", "bench.load", load, f"{address[0]}:{address[1]}", json.dumps(options)]
    seen: dict[str, dict[str, Usage]] = {"begin": {}, "middle": {}, "end": {}}
    busy: list[float] = []
    last = ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            last = line.strip()
            if last in seen:
                seen[last] = usage()
                busy.append(busy_seconds())
    if process.returncode:
        raise RuntimeError(f"the load {load} failed; its last words are above")
    loaded = Loaded(json.loads(last), seen["begin"], seen["end"], seen["middle"])
    if busy:
        ours = sum(map(loaded.cpu, loaded.after)) + loaded.result.get("load_cpu_seconds", 0.0)
        loaded.others = busy[-1] - busy[0] - ours
    return loaded


def busy_seconds() -> float:
    """CPU seconds that this machine has spent on anything, since it started."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq)


@contextlib.contextmanager
def relay() -> Iterator[tuple[tuple[str, int], Callable[[], dict[str, Usage]]]]:
    """The address of a running relay, and what tells its usage."""
    with subprocess.Popen(
        [sys.executable, "-m", "bench.relay"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            address = "127.0.0.1", int(process.stdout.readline())
            yield address, lambda: {"relay": process_usage(psutil.Process(process.pid))}
        finally:
            process.kill()
