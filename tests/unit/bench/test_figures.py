"""Figures and reports of the bench."""

import json

import pytest

from bench.figures import Figures, at_least, at_most, percentile, percentiles, rounded
from bench.report import render_json, render_markdown


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1), (0.01, 1), (0.5, 50), (0.501, 51), (0.99, 99), (1.0, 100)]
)
def test_percentile_is_the_nearest_rank(share: float, expected: int) -> None:
    """A p99 that is off by one rank would pass limits that are not met."""
    assert percentile(list(range(1, 101)), share) == expected


def test_percentiles_of_unsorted_and_of_no_values() -> None:
    """A run in which nothing arrived must not end the bench, nor an unsorted one spoil its figures."""
    assert percentiles([3.0, 1.0, 2.0]) == {"p50": 2.0, "p99": 3.0, "max": 3.0}
    assert percentiles([]) == {}


def test_figures_judge_the_median_of_all_runs() -> None:
    """One lucky or unlucky run must not decide whether a limit is met."""
    figures = Figures()
    for rate, p99 in ((20_000, 10), (9_000, 70), (16_000, 80)):
        figures.add("pairs", "rate", "messages/s", rate, at_least(15_000))
        figures.add("pairs", "p99", "ms", p99, at_most(60))
    rate, p99 = figures
    assert (rate.median, rate.verdict) == (16_000, "yes")
    assert (p99.median, p99.verdict) == (70, "no")


def test_report_shows_limits_spread_and_ratios() -> None:
    """Readers of a report must find what was asked, what came out, and how far it spreads."""
    figures = Figures()
    for value in (10.0, 12.0, 20.0):
        figures.add("pairs", "rate", "messages/s", value * 1000, at_least(15_000))
        figures.add("pairs @old", "rate", "messages/s", value * 500, at_least(15_000))
        figures.add("pairs", "cpu load", "s", value / 1000)
    report = render_markdown("Bench", {"cpu": "one"}, figures, against=" @old")
    assert "| pairs | rate | messages/s | 12,000 | 10,000 to 20,000 | 3 | ≥ 15,000 | no |" in report
    assert "| pairs | rate | messages/s | 12,000 | 6,000 | 2.00 |" in report
    assert "| pairs | 0.012 (0.01 to 0.02) |" in report
    assert "| pairs @old | 6,000 messages/s (5,000 to 10,000) |" in report
    assert "- cpu: one" in report


def test_json_report_keeps_every_run() -> None:
    """Later benches compare with the single runs, not with a rounded table."""
    figures = Figures()
    figures.add("one", "p50", "ms", 1.23456, at_most(1.2))
    figures.add("one", "rate", "messages/s", 800.0)
    first, second = json.loads(render_json({"commit": "abc"}, figures))["figures"]
    assert (first["values"], first["met"], first["asked"]) == (
        [1.23456],
        False,
        {"value": 1.2, "least": False},
    )
    assert (second["median"], second["met"], second["asked"]) == (800.0, None, None)


@pytest.mark.parametrize(
    ("value", "text"), [(15_000, "15,000"), (99.96, "100"), (1.2345, "1.23"), (0.0, "0")]
)
def test_rounded_keeps_three_digits(value: float, text: str) -> None:
    """Figures must be readable and must not claim a precision that they do not have."""
    assert rounded(value) == text
