"""The report of a bench: Markdown for people, JSON for the next bench."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.figures import Figure, Figures, rounded

SPEED = ("rate", "p50", "p99", "max")
RATIOS = "Ratios of each round: their median, least and greatest. CPU is that of the load generator."
OTHERS = "cores used by others"
SERVERS = ("gateway", "messenger", "auth", "relay", "ejabberd", "mariadb")
CPU = (*(f"cpu {name}" for name in SERVERS), "cpu load", OTHERS)


def render_markdown(
    title: str,
    facts: Mapping[str, str],
    figures: Figures,
    against: str = "",
    comparisons: Sequence[str] = (),
) -> str:
    """The whole report.

    `against`: the suffix of shapes of the other version, for a table of ratios. `comparisons`: the table of
    ratios to other programs.
    """
    lines = [f"# {title}", ""]
    lines += [f"- {name}: {value}" for name, value in facts.items()]
    asked = [figure for figure in figures if figure.asked is not None]
    lines += ["", "## What was asked", "", *figure_table(asked, asked=True)]
    if against:
        lines += ["", f"## Against {against.strip(' @')}", "", *ratio_table(figures, against)]
    if comparisons:
        lines += ["", "## Compared with other programs", "", RATIOS, "", *comparisons]
    lines += ["", "## Speed", "", "Medians, and from the least to the greatest run.", ""]
    lines += pivot_table(figures, SPEED)
    lines += [
        "",
        "## CPU",
        "",
        "Seconds per 1,000 messages, reads or sign-ins: medians, least to greatest.",
        "",
    ]
    lines += pivot_table(figures, CPU)
    rest = [figure for figure in figures if figure.asked is None and figure.name not in (*SPEED, *CPU)]
    lines += ["", "## Other figures", "", *figure_table(rest, asked=False)]
    return "\n".join(lines) + "\n"


def figure_table(figures: list[Figure], *, asked: bool) -> list[str]:
    """A table of medians with their spread, and, where `asked`, the limits and whether they are met."""
    head = ["shape", "figure", "unit", "median", "min to max", "runs"] + (["asked", "met"] if asked else [])
    rows = []
    for figure in figures:
        row = [figure.shape, figure.name, figure.unit, rounded(figure.median)]
        row += [f"{rounded(min(figure.values))} to {rounded(max(figure.values))}", str(len(figure.values))]
        rows.append(row + ([str(figure.asked), figure.verdict] if asked else []))
    return table(head, rows)


def pivot_table(figures: Figures, names: Sequence[str]) -> list[str]:
    """A row for each shape that has one of the figures, a column for each figure that there is."""
    names = [name for name in names if any(figure.name == name for figure in figures)]
    shapes = dict.fromkeys(figure.shape for figure in figures if figure.name in names and figure.unit)
    rows = [[shape, *(spread(figures.find(shape, name)) for name in names)] for shape in shapes]
    return table(["shape", *names], rows)


def spread(figure: Figure | None) -> str:
    """A figure in a cell."""
    if figure is None:
        return ""
    unit = f" {figure.unit}" if figure.unit.endswith("/s") else ""
    least, greatest = min(figure.values), max(figure.values)
    around = f" ({rounded(least)} to {rounded(greatest)})" if len(figure.values) > 1 else ""
    return f"{rounded(figure.median)}{unit}{around}"


def ratio_table(figures: Figures, against: str) -> list[str]:
    """Medians of this version by those of the other, for every figure that both have."""
    rows = []
    for figure in figures:
        other = figures.find(figure.shape + against, figure.name)
        if other is not None and other.median:
            ratio = figure.median / other.median
            row = [figure.shape, figure.name, figure.unit, rounded(figure.median), rounded(other.median)]
            rows.append([*row, f"{ratio:.2f}"])
    return table(["shape", "figure", "unit", "this", "other", "this : other"], rows)


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a Markdown table."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def render_json(facts: Mapping[str, str], figures: Figures) -> str:
    """Facts and every run's values."""
    found: list[dict[str, Any]] = []
    for figure in figures:
        values = {"median": figure.median, "min": min(figure.values), "max": max(figure.values)}
        met = {"": None, "yes": True, "no": False}[figure.verdict]
        found.append({**asdict(figure), **values, "met": met})
    return json.dumps({"facts": dict(facts), "figures": found}, indent=1, ensure_ascii=False) + "\n"


def write_report(directory: Path, name: str, markdown: str, content: str) -> Path:
    """Writes both files; the path of the Markdown one."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}.md"
    path.write_text(markdown)
    (directory / f"{name}.json").write_text(content)
    return path
