"""Ratios of Palaver's figures to others', round by round, and what was asked of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.figures import Figure, Figures, Limit, at_least, at_most, rounded
from bench.report import table

EJABBERD = "ejabberd"
FLOOR = "fsync + a relay's two hops"
SHAPES = ("1 pair", "paced 100/s", "50 pairs of 8")
NAMES = ("rate", "p50", "p99", "cpu load")
ASKED = {
    ("1 pair", EJABBERD, "p50"): at_most(0.6),
    ("paced 100/s", EJABBERD, "p50"): at_most(0.75),
    ("50 pairs of 8", EJABBERD, "rate"): at_least(8),
    ("1 pair", FLOOR, "p50"): at_most(3),
}


@dataclass(frozen=True)
class Comparison:
    """A figure of Palaver, the same of something else, and their ratio in each round."""

    ours: Figure
    other: Figure
    ratio: Figure


def add_comparisons(figures: Figures, generations: Sequence[str]) -> list[Comparison]:
    """Adds to `figures` the ratios of all that can be compared."""
    return [compare(figures, *names) for names in list(_comparable(figures, generations))]


def compare(
    figures: Figures, shape: str, other_shape: str, name: str, other: str, asked: Limit | None
) -> Comparison:
    """Adds the ratios of a figure of two shapes. `other`: what the other shape ran on, in a word.

    A round is left out if a shape failed in it, or gave 0.
    """
    ours, theirs = figures.find(shape, name), figures.find(other_shape, name)
    assert ours is not None
    assert theirs is not None
    ratio_shape = f"{shape} : {other}"
    for our, their in zip(ours.values, theirs.values, strict=False):
        if their:
            figures.add(ratio_shape, name, "", our / their, asked)
    return Comparison(ours, theirs, figures.find(ratio_shape, name) or Figure(ratio_shape, name, ""))


def _comparable(
    figures: Figures, generations: Sequence[str]
) -> Iterator[tuple[str, str, str, str, Limit | None]]:
    for shape in SHAPES:
        for generation in generations:
            for other, other_shape in (
                (EJABBERD, f"{shape}, {EJABBERD}"),
                (FLOOR, f"{FLOOR}, {shape}, {generation}"),
            ):
                ours = f"{shape}, {generation}"
                for name in NAMES:
                    if figures.find(ours, name) and figures.find(other_shape, name):
                        yield ours, other_shape, name, other, ASKED.get((shape, other, name))


def render_comparisons(comparisons: Sequence[Comparison]) -> list[str]:
    """A table with a row for each: both medians, and the median ratio with its spread over the rounds."""
    head = ["Palaver : other", "figure", "unit", "Palaver", "other", "ratio", "min to max", "rounds"]
    rows = []
    for ours, other, ratio in ((each.ours, each.other, each.ratio) for each in comparisons):
        if ratio.values:
            row = [ratio.shape, ratio.name, ours.unit, rounded(ours.median), rounded(other.median)]
            row += [f"{ratio.median:.2f}", f"{min(ratio.values):.2f} to {max(ratio.values):.2f}"]
            rows.append([*row, str(len(ratio.values)), str(ratio.asked or ""), ratio.verdict])
    return table([*head, "asked", "met"], rows)
