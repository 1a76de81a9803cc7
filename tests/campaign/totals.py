"""The sums over all runs of a campaign."""

from collections import Counter
from dataclasses import dataclass, field

from tests.campaign.counts import Counts
from tests.campaign.run import Outcome


@dataclass
class Totals:
    """`failed`: runs that did not come to their end, which is a fault too."""

    runs: int = 0
    failed: int = 0
    seconds: float = 0.0
    happened: Counter[str] = field(default_factory=Counter)
    counts: Counts = field(default_factory=Counts)

    def add(self, outcome: Outcome) -> None:
        """Adds a run."""
        self.runs += 1
        self.seconds += outcome.seconds
        self.happened += outcome.happened
        self.counts.add(outcome.counts)

    @property
    def is_clean(self) -> bool:
        """Whether no promise was broken, and something was tried at all."""
        return not self.counts.faults and not self.failed and self.counts.acked > 0

    def __str__(self) -> str:
        return f"{self.runs} runs, {self.happened['kills']} kills: {self.counts}; failed runs {self.failed}"
