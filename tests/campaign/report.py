"""The report of a campaign, in Markdown."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from tests.campaign.deployed_run import CHATS, WATCHERS, WRITERS
from tests.campaign.run import PAIRS, Outcome
from tests.campaign.totals import Totals

# What each run is, and what is counted
EMBEDDED = (
    f"`palaver up`\nwith {2 * PAIRS} users who write and read without a pause",
    "processes were killed by SIGKILL",
)
DEPLOYED = (
    "deployment:\ntwo gateways, two messengers, two auths, MariaDB and Redis, "
    f"with {CHATS * WRITERS} users who write\nand {CHATS * WATCHERS} who only read",
    "times a process was killed by SIGKILL or stopped by SIGSTOP for a while",
)


def render(
    at: datetime,
    facts: dict[str, str],
    totals: Totals,
    outcomes: Sequence[Outcome],
    command: str,
    *,
    deployed: bool,
) -> str:
    """The facts of the machine, the faults by kind, the counts, and the seeds."""
    how = DEPLOYED if deployed else EMBEDDED
    lines = [
        f"# Kill campaign of {at:%Y-%m-%d %H:%M} UTC",
        "",
        f"`{command}`: {totals.runs} runs in {totals.seconds / 60:.0f} minutes, each a fresh {how[0]}.",
        "",
        *table(("fact", ""), facts.items()),
        "",
        f"{totals.happened['kills']} {how[1]}. What happened, at random moments:",
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
