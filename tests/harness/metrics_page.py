"""The metrics that docs/reference/metrics.md names."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"
SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
# | name | type | labels | meaning |
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \|(.*?)\| (.+) \|$", re.MULTILINE)


def metrics_by_section() -> dict[str, dict[str, tuple[str, list[str]]]]:
    """Type and labels of each metric, by its name, by the heading above it."""
    _, *parts = SECTION.split(PAGE.read_text(encoding="utf-8"))
    return {heading: metrics_of(text) for heading, text in zip(parts[::2], parts[1::2], strict=True)}


def metrics_of(text: str) -> dict[str, tuple[str, list[str]]]:
    """Type and labels of each metric of a part of the page."""
    rows = ROW.findall(text)
    found = {name: (kind, sorted(re.findall(r"`(\w+)`", labels))) for name, kind, labels, _ in rows}
    assert len(found) == len(rows) == text.count("\n| `")
    return found
