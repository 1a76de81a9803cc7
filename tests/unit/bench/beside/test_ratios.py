"""Ratios of Palaver's figures to others'."""

import pytest

from bench.beside.ratios import FLOOR, add_comparisons, render_comparisons
from bench.figures import Figures
from bench.report import render_markdown


def measured() -> Figures:
    """Three rounds of Palaver's v2 and ejabberd, and two of what the machine needs at least."""
    figures = Figures()
    for ours, other in ((1.0, 2.0), (3.0, 4.0), (1.0, 1.0)):
        figures.add("1 pair, v2", "p50", "ms", ours)
        figures.add("1 pair, ejabberd", "p50", "ms", other)
        figures.add("50 pairs of 8, v2", "rate", "messages/s", ours * 1000)
        figures.add("50 pairs of 8, ejabberd", "rate", "messages/s", other * 100)
    for floor in (0.5, 0.0):
        figures.add(f"{FLOOR}, 1 pair, v2", "p50", "ms", floor)
    return figures


def test_ratios_are_of_the_same_round() -> None:
    """A ratio of medians would mix rounds, whose machine was not equally quick."""
    ratios = {
        (each.ratio.shape, each.ratio.name): each.ratio for each in add_comparisons(measured(), ["v1", "v2"])
    }
    lone = ratios["1 pair, v2 : ejabberd", "p50"]
    assert (lone.values, lone.median, lone.verdict) == ([0.5, 0.75, 1.0], 0.75, "no")
    busy = ratios["50 pairs of 8, v2 : ejabberd", "rate"]
    assert (busy.values, busy.verdict) == (pytest.approx([5.0, 7.5, 10.0]), "no")
    assert len(ratios) == 3


def test_rounds_without_the_other_are_left_out() -> None:
    """A round in which the other failed must not end the report of all others."""
    floor = next(each for each in add_comparisons(measured(), ["v2"]) if FLOOR in each.ratio.shape)
    assert (floor.ratio.values, floor.ratio.verdict, str(floor.ratio.asked)) == ([2.0], "yes", "≤ 3")


def test_the_report_shows_both_sides_ratio_and_spread() -> None:
    """Readers must see from what a ratio comes, how far it spreads, and what was asked of it."""
    figures = measured()
    rows = render_comparisons(add_comparisons(figures, ["v2"]))
    assert "| 1 pair, v2 : ejabberd | p50 | ms | 1 | 2 | 0.75 | 0.50 to 1.00 | 3 | ≤ 0.6 | no |" in rows
    report = render_markdown("Bench", {}, figures, comparisons=rows)
    assert "\n".join(rows) in report
    assert "| 1 pair, v2 : ejabberd | p50 |  | 0.75 | 0.5 to 1 | 3 | ≤ 0.6 | no |" in report
    assert "other programs" not in render_markdown("Bench", {}, Figures())
