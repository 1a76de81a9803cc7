"""Promises P1 to P4 on a deployment, where any one process fails, of the services and of the engines."""

import asyncio
from pathlib import Path

import pytest

from tests.campaign.counts import Counts
from tests.campaign.deployed_faults import Pace
from tests.campaign.deployed_run import run_deployed
from tests.harness.seeds import new_seed

FAULTS = 60
# A run takes about 90 s
LIMIT_SECONDS = 300.0
END_SECONDS = 30.0
QUICK = Pace(between=(0.0, 0.4), frozen=(0.1, 1.0), down=(0.0, 0.2))


@pytest.mark.parametrize("seed", [new_seed()])
async def test_acked_messages_survive_any_one_process(tmp_path: Path, seed: int) -> None:
    """People would lose, miss or read twice what others sent, whenever a machine of a deployment fails."""
    running = asyncio.create_task(run_deployed(tmp_path / "deployment", seed, FAULTS, QUICK))
    ended, _ = await asyncio.wait((running,), timeout=LIMIT_SECONDS)
    if not ended:
        for task in asyncio.all_tasks():
            task.print_stack()
        running.cancel()
        # Its processes end with it
        await asyncio.wait((running,), timeout=END_SECONDS)
    assert ended, f"not within {LIMIT_SECONDS:g} s"
    outcome = running.result()
    print(outcome)  # noqa: T201 - the counts are what whoever runs this wants to see
    counts = outcome.counts
    assert outcome.happened["kills"] >= FAULTS, outcome
    assert counts.acked >= FAULTS, outcome
    # A send may get no answer on a machine that starts services without a pause
    assert counts == Counts(counts.acked, counts.acked, refused=counts.refused), (
        f"{outcome}\n{outcome.output}"
    )
