"""`make campaign`: kills, freezes and cuts for as long as one likes, and counts what was lost.

Each run is a fresh Palaver, and prints its seed and its counts. Exit code 1 where a promise was broken.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.machine import commit_of, describe_machine
from tests.campaign.deployed_run import run_deployed
from tests.campaign.report import render
from tests.campaign.run import Outcome, run_once
from tests.campaign.totals import Totals

REPORTS = Path("bench/reports")
WAVES = 5
ROUNDS = 3
DEFAULT_MINUTES = 10.0
# Of one run on a deployment
FAULTS = 200
# A campaign whose runs do not even start ends
MOST_FAILED = 10


def main() -> int:
    """Runs until the time is over or so many processes were killed."""
    options = parse(sys.argv[1:])
    seeds = random.Random(options.seed)
    print(f"campaign of seed {options.seed}", flush=True)
    totals, outcomes = Totals(), list[Outcome]()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="palaver-campaign-") as directory:
        root = Path(directory)
        facts = {"commit": commit_of(), **describe_machine(root)}
        try:
            while goes_on(options, totals, time.monotonic() - began):
                seed = seeds.randrange(10**9)
                run(seed, one_run(options, totals, root / str(totals.runs), seed), totals, outcomes)
        except KeyboardInterrupt:
            print("interrupted")
    print(f"{'no faults' if totals.is_clean else 'FAULTS'} in {totals}")
    if options.report:
        name = f"{datetime.now(UTC):%Y-%m-%d}-{options.report}.md"
        words = f"make campaign ARGS={' '.join(sys.argv[1:])!r}".replace("'", '"')
        REPORTS.joinpath(name).write_text(
            render(datetime.now(UTC), facts, totals, outcomes, words, deployed=options.deployed)
        )
        print(f"written to {REPORTS / name}")
    return 0 if totals.is_clean else 1


def one_run(
    options: argparse.Namespace, totals: Totals, directory: Path, seed: int
) -> Coroutine[Any, Any, Outcome]:
    """The next run, on a fresh Palaver."""
    directory.mkdir()
    if not options.deployed:
        return run_once(directory, seed, WAVES, ROUNDS)
    left = FAULTS if options.kills is None else options.kills - totals.happened["kills"]
    return run_deployed(directory, seed, min(FAULTS, left))


def run(seed: int, one: Coroutine[Any, Any, Outcome], totals: Totals, outcomes: list[Outcome]) -> None:
    """One run, and the counts so far."""
    try:
        outcome = asyncio.run(one)
    except Exception as error:
        totals.runs += 1
        totals.failed += 1
        print(f"seed {seed} did not come to its end: {error!r}", flush=True)
        return
    outcomes.append(outcome)
    totals.add(outcome)
    print(f"{outcome}\n  in all {totals}", flush=True)


def goes_on(options: argparse.Namespace, totals: Totals, seconds: float) -> bool:
    """Whether another run is wanted."""
    if totals.failed >= MOST_FAILED:
        return False
    if options.kills is not None:
        return bool(totals.happened["kills"] < options.kills)
    return bool(seconds < 60 * options.minutes)


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make campaign ARGS=…", description=__doc__)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=DEFAULT_MINUTES, help="how long; 10 by default")
    length.add_argument("--kills", type=int, help="how many processes to kill (or freeze, with --deployed)")
    parser.add_argument(
        "--deployed", action="store_true", help="two of each service on MariaDB and Redis, which fail too"
    )
    parser.add_argument("--seed", type=int, default=random.randrange(10**9), help="of the seeds of all runs")
    parser.add_argument("--report", metavar="NAME", help=f"write a report to {REPORTS}/DATE-NAME.md")
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main())
