"""The report of a campaign, in Markdown."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from tests.campaign.run import PAIRS, Outcome
from tests.campaign.totals import Totals


def render(
    at: datetime, facts: dict[str, str], totals: Totals, outcomes: Sequence[Outcome], command: str
) -> str:
    """The facts of the machine, the faults by kind, the counts, and the seeds."""
    lines = [
        f"# Kill campaign of {at:%Y-%m-%d %H:%M} UTC",
        "",
        f"`{command}`: {totals.runs} runs in {totals.seconds / 60:.0f} minutes, each a fresh `palaver up`",
        f"with {2 * PAIRS} users who write and read without a pause.",
        "",
        *table(("fact", ""), facts.items()),
        "",
        f"{totals.happened['kills']} processes were killed by SIGKILL. What happened, at random moments:",
        "",
        *table(("fault", "times"), sorted((k, v) for k, v in totals.happened.items() if k != "kills")),
        "",
        *table(("count", ""), totals.counts.rows()),
        "",
        "`refused` sends got no answer in time; they are not acked. Everything else but `acked` and `found`",
        f"is a fault: {totals.counts.faults} in all.",
        "",
        f"Seeds: {', '.join(str(outcome.seed) for outcome in outcomes)}.",
    ]
    failed = [f"- {outcome}" for outcome in outcomes if outcome.counts.faults]
    if totals.failed:
        failed.append(f"- {totals.failed} runs did not come to their end")
    return "\n".join([*lines, *(["", "Runs with faults:", "", *failed] if failed else []), ""])


def table(head: tuple[str, str], rows: Iterable[tuple[str, object]]) -> list[str]:
    """A table of two columns."""
    return [f"| {head[0]} | {head[1]} |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
