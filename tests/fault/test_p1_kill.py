"""Promise P1: what was acked is in the history at its seq, exactly once, through `kill -9` of any process."""

from pathlib import Path

import pytest

from tests.campaign.counts import Counts
from tests.campaign.run import PAIRS, run_once
from tests.harness.seeds import new_seed

WAVES = 2
ROUNDS = 2


@pytest.mark.parametrize("seed", [new_seed()])
async def test_acked_messages_survive_kills(tmp_path: Path, seed: int) -> None:
    """People would lose messages that were shown to them as sent, or read them twice, after any crash."""
    outcome = await run_once(tmp_path, seed, WAVES, ROUNDS)
    print(outcome)  # noqa: T201 - the counts are what whoever runs this wants to see
    counts = outcome.counts
    assert outcome.happened["kills"] >= 20, outcome
    assert counts.acked >= 100 * PAIRS, outcome
    assert counts == Counts(counts.acked, found=counts.acked), f"{outcome}\n{outcome.output}"
