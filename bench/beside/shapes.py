"""The shapes of load on ejabberd, and what a lone message costs on this machine at least."""

import tempfile
from pathlib import Path
from typing import Any

from bench.beside.ejabberd import Ejabberd
from bench.beside.ratios import EJABBERD, FLOOR
from bench.beside.xmpp import xmpp_pairs
from bench.figures import at_least, at_most
from bench.machine import fsync_ms
from bench.rounds import Bench, Loaded, run_load


def measure_ejabberd(bench: Bench, shape: str, load: str, options: dict[str, Any]) -> None:
    """One run of a load on a fresh ejabberd, where the bench runs beside it."""
    if bench.beside != EJABBERD:
        return
    with tempfile.TemporaryDirectory(dir=bench.root) as directory:
        server = Ejabberd(Path(directory))
        try:
            server.start()
            server.register(xmpp_pairs(options["pairs"]))
            loaded = run_load(load, server.address, options, server.usage)
            rows = server.archived()
        finally:
            server.stop()
    name = f"{shape}, {EJABBERD}"
    bench.add_rate(name, "messages", loaded)
    bench.add_latency(name, loaded)
    bench.add_cpu(name, "messages", loaded)
    sent = loaded.result["sent"]
    bench.figures.add(name, "lost", "messages", loaded.result["lost"], at_most(0))
    bench.figures.add(name, "sent, warm-up included", "messages", sent)
    bench.figures.add(name, "in the archive", "rows", rows)
    # One in the archive of each side
    bench.figures.add(name, "in the archive, a message", "rows", rows / sent, at_least(2))


def add_floor(bench: Bench, shape: str, relayed: Loaded) -> None:
    """What a lone message that is stored costs at least: a relay's two hops and an fsync, just measured."""
    fsync = fsync_ms(bench.root)
    bench.figures.add("fsync", "4 KiB appended, median", "ms", fsync)
    bench.figures.add(f"{FLOOR}, {shape}", "p50", "ms", fsync + relayed.result["latency_ms"]["p50"])
