"""Figures: percentiles, what was asked, and the report."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


def percentile(ordered: Sequence[float], share: float) -> float:
    """The least value that `share` of the values do not exceed (nearest rank). `ordered` ascends."""
    rank = -(-len(ordered) * share // 1)
    return ordered[max(int(rank) - 1, 0)]


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p99 and the greatest; empty where there are no values."""
    if not values:
        return {}
    ordered = sorted(values)
    return {"p50": percentile(ordered, 0.5), "p99": percentile(ordered, 0.99), "max": ordered[-1]}


@dataclass(frozen=True)
class Limit:
    """What was asked of a figure: at least, or at most, so much of its unit."""

    value: float
    least: bool

    def __str__(self) -> str:
        return f"{'≥' if self.least else '≤'} {rounded(self.value)}"

    def met_by(self, value: float) -> bool:
        """Whether `value` is as asked."""
        return value >= self.value if self.least else value <= self.value


def at_least(value: float) -> Limit:
    """More is better."""
    return Limit(value, least=True)


def at_most(value: float) -> Limit:
    """Less is better."""
    return Limit(value, least=False)


@dataclass
class Figure:
    """One measured thing of one shape: a value of each run."""

    shape: str
    name: str
    unit: str
    asked: Limit | None = None
    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The middle of the runs."""
        return statistics.median(self.values)

    @property
    def verdict(self) -> str:
        """`yes`, `no`, or nothing where nothing was asked."""
        if self.asked is None:
            return ""
        return "yes" if self.asked.met_by(self.median) else "no"


class Figures:
    """All figures of a bench, in the order of their first value."""

    def __init__(self) -> None:
        self._all: dict[tuple[str, str], Figure] = {}

    def __iter__(self):  # type: ignore[no-untyped-def] # the bench is not part of the typed package
        return iter(self._all.values())

    def add(self, shape: str, name: str, unit: str, value: float, asked: Limit | None = None) -> None:
        """One more run's value."""
        figure = self._all.setdefault((shape, name), Figure(shape, name, unit, asked))
        figure.values.append(value)

    def find(self, shape: str, name: str) -> Figure | None:
        """A figure, where there is one."""
        return self._all.get((shape, name))


def rounded(value: float) -> str:
    """Three digits that matter, thousands apart."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
