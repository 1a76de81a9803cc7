"""One run of a campaign: a whole Palaver, users who write, waves of faults, and the counts."""

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.campaign.counts import Counts, count_all
from tests.campaign.faults import CALM_SECONDS, run_wave
from tests.campaign.writers import open_writers, sign_in
from tests.harness.palaver_process import running_palaver

PAIRS = 4


@dataclass
class Outcome:
    """What happened in a run. `causes`: why sends were refused; `output`: of `palaver up`."""

    seed: int
    seconds: float = 0.0
    happened: Counter[str] = field(default_factory=Counter)
    counts: Counts = field(default_factory=Counts)
    causes: set[str] = field(default_factory=set)
    output: str = ""

    def __str__(self) -> str:
        kinds = ", ".join(f"{kind} {times}" for kind, times in sorted(self.happened.items()))
        causes = f"; refused: {'; '.join(sorted(self.causes))}" if self.causes else ""
        return f"seed {self.seed}, {self.seconds:.0f} s: {self.counts} ({kinds}){causes}"


async def run_once(directory: Path, seed: int, waves: int, rounds: int) -> Outcome:
    """Runs waves of so many rounds of faults each, while users write."""
    began = time.monotonic()
    chance = random.Random(seed)
    outcome = Outcome(seed)
    with running_palaver(directory) as palaver:
        clients = [await sign_in(palaver.base_url) for _ in range(2 * PAIRS)]
        try:
            writers = await open_writers(clients)
            stopping, all_written = asyncio.Event(), asyncio.Barrier(len(writers))
            async with asyncio.TaskGroup() as group:
                for writer in writers:
                    group.create_task(writer.run(stopping, all_written))
                for wave in range(waves):
                    if wave:
                        await asyncio.sleep(CALM_SECONDS)
                    outcome.happened += await run_wave(palaver, writers, rounds, chance)
                stopping.set()
            outcome.counts = await count_all(writers)
        finally:
            for client in clients:
                await client.close()
        outcome.causes = {f"{e.kind.code}: {e.message}" for writer in writers for e in writer.refused}
        outcome.output = palaver.output
    outcome.seconds = time.monotonic() - began
    return outcome
