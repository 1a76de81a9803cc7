"""What a figure depends on besides the code: the machine and the versions."""

import compileall
import os
import platform
import sqlite3
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import psutil

FSYNCS = 200


def describe_machine(data_root: Path) -> dict[str, str]:
    """The machine, as lines of a report."""
    return {
        "cpu": cpu_model(),
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "fsync": f"{fsync_ms(data_root):.3f} ms (4 KiB appended, median of {FSYNCS})",
        "load before": f"{os.getloadavg()[0]:.2f}",
    }


def cpu_model() -> str:
    """The processor's name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def fsync_ms(directory: Path) -> float:
    """How long a 4 KiB append and its fsync take where the databases will be, in ms."""
    took = []
    with tempfile.TemporaryFile(dir=directory) as file:
        for _ in range(FSYNCS):
            start = time.perf_counter()
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
            took.append((time.perf_counter() - start) * 1000)
    return statistics.median(took)


def commit_of(ref: str = "HEAD") -> str:
    """The short name of a commit, with a mark where the work tree differs from it."""
    name = git("rev-parse", "--short", ref)
    changed = ref == "HEAD" and git("status", "--porcelain", "--untracked-files=no", "--", "src", "bench")
    return f"{name}+changes" if changed else name


def unpack_source(ref: str, directory: Path) -> Path:
    """The `src` of another commit, unpacked into `directory`. The work tree is left as it is."""
    archive = subprocess.run(["git", "archive", ref, "src"], check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", str(directory)], input=archive, check=True)
    compile_source(directory / "src")
    return directory / "src"


def compile_source(directory: Path) -> None:
    """Writes the bytecode of a version, as its installation does: else each start would compile it again."""
    if not compileall.compile_dir(directory, quiet=1):
        raise RuntimeError(f"{directory} has files that are not Python")


def git(*words: str) -> str:
    """What git prints. Raises `CalledProcessError`."""
    return subprocess.run(["git", *words], check=True, capture_output=True, text=True).stdout.strip()
