"""`python -m bench`: measures, prints the report, and writes it to `bench/reports/`."""

import argparse
import contextlib
import os
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import psutil

from bench.beside.ejabberd import complaint, describe_ejabberd, missing_packages
from bench.beside.ratios import EJABBERD, add_comparisons, render_comparisons
from bench.machine import commit_of, compile_source, describe_machine, unpack_source
from bench.report import render_json, render_markdown, write_report
from bench.rounds import Bench
from bench.server import CHEAP_HASHES
from bench.shapes import GENERATIONS, ON_EJABBERD, SHAPES

REPORTS = Path(__file__).parent / "reports"
SOURCE = Path(__file__).parent.parent / "src"
FILES = 65_536


def main(words: Sequence[str] | None = None) -> int:
    """Runs the bench. 0: all that was asked is met; 1: something is not; 2: a shape failed."""
    options = parse(words)
    allow_many_files()
    with tempfile.TemporaryDirectory(prefix="palaver-bench-") as directory:
        root = Path(directory)
        sources: dict[str, Path | None] = {"": None}
        compile_source(SOURCE)
        suffix = ""
        if options.against:
            suffix = f" @{options.against}"
            sources[suffix] = unpack_source(options.against, root)
        bench = Bench(options.runs, options.quick, root, sources, options.beside)
        facts = {"commit": commit_of(), **describe_machine(root), **describe_run(options, bench)}
        before = psutil.cpu_times()
        failed = run_shapes(bench, options.only)
        facts["stolen CPU"] = stolen(before, psutil.cpu_times())
    if failed:
        facts["failed"] = "; ".join(failed)
    now = datetime.now(UTC)
    compared = render_comparisons(add_comparisons(bench.figures, GENERATIONS))
    markdown = render_markdown(f"Bench of {now:%Y-%m-%d %H:%M} UTC", facts, bench.figures, suffix, compared)
    print(markdown)
    name = f"{now:%Y-%m-%d}-{options.name or facts['commit']}"
    path = write_report(options.out, name, markdown, render_json(facts, bench.figures))
    print(f"written to {path}", file=sys.stderr)
    if failed:
        return 2
    return 1 if any(figure.verdict == "no" for figure in bench.figures) else 0


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    shapes = ", ".join(f"{name} ({shape.__doc__.strip()})" for name, shape in SHAPES.items() if shape.__doc__)
    parser.add_argument("--only", default="", metavar="SHAPES", help=f"with commas between: {shapes}")
    parser.add_argument("--runs", type=int, help="of each shape: 5, or with --quick 1; their median counts")
    parser.add_argument("--quick", action="store_true", help="short runs, on less data")
    parser.add_argument("--against", default="", metavar="REF", help="measure that commit too, in turn")
    parser.add_argument(
        "--beside",
        default="",
        choices=[EJABBERD],
        help=f"measure it too, in turn: {', '.join(ON_EJABBERD)}",
    )
    parser.add_argument("--name", default="", help="of the report; the commit by default")
    parser.add_argument("--out", type=Path, default=REPORTS, help="directory for the report")
    options = parser.parse_args(words)
    options.only = [name for name in options.only.split(",") if name] or list(SHAPES)
    if unknown := [name for name in options.only if name not in SHAPES]:
        parser.error(f"there is no shape {unknown[0]}: choose from {', '.join(SHAPES)}")
    options.runs = options.runs or (1 if options.quick else 5)
    if options.beside and not set(options.only) & set(ON_EJABBERD):
        parser.error(f"--beside {options.beside} has nothing to measure: add one of {', '.join(ON_EJABBERD)}")
    if options.beside and (missing := missing_packages()):
        parser.exit(2, f"{complaint(missing)}\n")
    return options


def run_shapes(bench: Bench, names: list[str]) -> list[str]:
    """Runs shapes; those that fail are told, and do not end the others."""
    failed = []
    for name in names:
        bench.say(f"{name}: {(SHAPES[name].__doc__ or '').strip()}")
        start = time.perf_counter()
        try:
            SHAPES[name](bench)
        except (RuntimeError, OSError) as error:
            failed.append(f"{name}: {error}")
            bench.say(f"  {name} failed: {error}")
        bench.say(f"  took {time.perf_counter() - start:.0f} s")
    return failed


def describe_run(options: argparse.Namespace, bench: Bench) -> dict[str, str]:
    """How it was measured."""
    hashes = ", ".join(f"{name}={value}" for name, value in CHEAP_HASHES.items())
    changed = ", ".join(
        f"{name}={value}" for name, value in os.environ.items() if name.startswith("PALAVER_")
    )
    beside = {EJABBERD: describe_ejabberd()} if options.beside else {}
    return {
        "runs": f"{bench.runs}{', quick: short and on less data' if options.quick else ''}",
        "server": f"palaver up --no-rate-limits, {changed or 'default settings'}; but for sign-in: {hashes}",
        "load": "one process on the same cores",
        **beside,
    }


def stolen(before: object, after: object) -> str:
    """The share of CPU time that the hypervisor gave to others meanwhile."""
    total = sum(after) - sum(before)  # type: ignore[call-overload] # psutil's times are a named tuple
    steal = getattr(after, "steal", 0.0) - getattr(before, "steal", 0.0)
    return f"{100 * steal / total:.1f} %" if total else "unknown"


def allow_many_files() -> None:
    """Raises the limit of open files: 2,000 sockets need as many, here and in the server."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(FILES, hard), hard))


if __name__ == "__main__":
    sys.exit(main())
