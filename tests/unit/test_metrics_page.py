"""The page of metrics against what the code registers."""

import json
import subprocess
import sys

import pytest

from tests.harness.metrics_page import metrics_by_section

# In a process of its own: other tests of this one register what they like, and import no service in full
SHOW_METRICS = """
import importlib, json, pkgutil
from prometheus_client import REGISTRY
import palaver
for module in pkgutil.walk_packages(palaver.__path__, "palaver."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
found = {}
for collector in REGISTRY._collector_to_names:
    # Prometheus' own collectors know their labels only from what they have collected
    own = getattr(collector, "_labelnames", None)
    for metric in collector.describe() if own is not None else collector.collect():
        labels = own if own is not None else sorted({label for one in metric.samples for label in one.labels})
        name = metric.name + ("_total" if metric.type == "counter" else "")
        found[name] = [metric.type, sorted(labels)]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def registered() -> dict[str, list[object]]:
    """Type and labels of each metric that any module of Palaver makes."""
    done = subprocess.run(
        [sys.executable, "-c", SHOW_METRICS], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, list[object]] = json.loads(done.stdout)
    return found


def test_metrics_page_tells_all_and_nothing_else(registered: dict[str, list[object]]) -> None:
    """An operator would chart a metric that is not there, or never learn of one that is."""
    told = {name: [*row] for section in metrics_by_section().values() for name, row in section.items()}
    assert len(told) > 30
    assert told == registered
