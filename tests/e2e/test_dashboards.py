"""The dashboard and the alert rules, against a real Prometheus that scrapes a running Palaver."""

import asyncio
import contextlib
import json
import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import yaml

from palaver.contracts.errors import CATALOGUE
from tests.harness.metrics_page import metrics_by_section
from tests.harness.palaver_process import running_palaver
from tests.harness.prometheus import DEPLOYED, REPOSITORY, Prometheus, metrics_addresses, running_prometheus
from tests.harness.waiting import wait_until
from tests.harness.workload import ENVIRONMENT, lose_the_messenger, use_everything

DASHBOARD = REPOSITORY / "deploy" / "grafana" / "palaver.json"

# What is no metric: a grouping, an operator; otherwise a name that is no function's, and its matchers
NAMES = re.compile(
    r"\b(?:by|on|without|ignoring) ?\([^)]*\)|\b(?:or|and|unless)\b|\b([a-z]\w*)\b(?! ?\(| by\b)(\{[^}]*\})?"
)
MATCHER = re.compile(r"(\w+) ?(=~|!~|!=|=) ?(?:\"([^\"]*)\"|'([^']*)')")


class Target(NamedTuple):
    """One line of a panel."""

    panel: str
    legend: str
    expression: str


class Matcher(NamedTuple):
    """One condition on a metric's labels."""

    metric: str
    label: str
    operator: str
    value: str


def panels() -> list[dict[str, Any]]:
    """The dashboard's panels, in their order, rows included."""
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return found


def targets() -> list[Target]:
    """All that the dashboard asks, as it is asked where all jobs and instances are chosen."""
    return [
        Target(panel["title"], target["legendFormat"], with_all_chosen(target["expr"]))
        for panel in panels()
        for target in panel.get("targets", ())
    ]


def with_all_chosen(expression: str) -> str:
    """An expression as Grafana asks it."""
    filled = expression.replace("$__rate_interval", "5m").replace("$job", ".+").replace("$instance", ".+")
    assert "$" not in filled, expression
    return filled


def rule_expressions() -> list[str]:
    """The conditions of all alerts."""
    groups = yaml.safe_load((DEPLOYED / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


def expressions() -> list[str]:
    """All PromQL that operators are given."""
    return [target.expression for target in targets()] + rule_expressions()


def selectors_of(expression: str) -> list[tuple[str, str]]:
    """Each metric that an expression names, with its matchers in braces."""
    return [(name, matchers) for name, matchers in NAMES.findall(expression) if name]


def matchers_of(expression: str) -> list[Matcher]:
    """Each condition on a label."""
    return [
        Matcher(metric, label, operator, double or single)
        for metric, braces in selectors_of(expression)
        for label, operator, double, single in MATCHER.findall(braces)
    ]


def wait_for_scrapes(prometheus: Prometheus) -> None:
    """Returns when Prometheus has seen what happened before."""
    # The first one may have begun before
    enough = prometheus.number("min(count_over_time(up[5m]))") + 2
    wait_until(lambda: prometheus.number("min(count_over_time(up[5m]))") >= enough, "two scrapes")


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """It has seen a little of everything twice: each series is there, and has grown."""
    directory = tmp_path_factory.mktemp("watched")
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(running_palaver(directory, env=ENVIRONMENT))
        found = stack.enter_context(running_prometheus(directory, metrics_addresses(running)))
        asyncio.run(lose_the_messenger(running))
        asyncio.run(use_everything(running))
        # Prometheus takes five seconds to begin
        wait_until(lambda: found.number("min(up)") == 1 and found.number("count(up)") == 3, "all are scraped")
        wait_for_scrapes(found)
        asyncio.run(use_everything(running))
        wait_for_scrapes(found)
        yield found


def test_every_line_of_the_dashboard_shows_numbers(prometheus: Prometheus) -> None:
    """A panel would be empty, or its lines without names, on the day when somebody looks for a reason."""
    wrong = []
    for target in targets():
        found = prometheus.evaluate(target.expression)
        labels = set(re.findall(r"{{(\w+)}}", target.legend)) - {"le"}
        if all(math.isnan(float(series["value"][1])) for series in found):
            wrong.append((target.panel, "no numbers", target.expression))
        elif not all(labels <= set(series["metric"]) for series in found):
            wrong.append((target.panel, f"no {labels}", target.expression))
    assert not wrong, "\n".join(map(str, wrong))


def test_every_selector_finds_series(prometheus: Prometheus) -> None:
    """An alert on a metric that is not there never fires."""
    asked = {name + braces for expression in expressions() for name, braces in selectors_of(expression)}
    assert len(asked) > 40
    wrong = [selector for selector in asked if not prometheus.evaluate(f"last_over_time({selector}[5m])")]
    assert not wrong, "\n".join(wrong)


def test_every_value_in_a_matcher_exists(prometheus: Prometheus) -> None:
    """A misspelt route, status or code would be silently left out, or in."""
    wrong: list[tuple[Matcher, str]] = []
    for matcher in {matcher for expression in expressions() for matcher in matchers_of(expression)}:
        known = prometheus.get(f"label/{matcher.label}/values", **{"match[]": matcher.metric})
        if matcher.label in ("code", "reason"):
            known += CATALOGUE
        wrong += [
            (matcher, value)
            for value in matcher.value.split("|")
            if not any(re.fullmatch(value, one) for one in known)
        ]
    assert not wrong, "\n".join(map(str, wrong))


def test_the_variables_offer_jobs_and_instances(prometheus: Prometheus) -> None:
    """The lists above the dashboard would be empty."""
    listed = json.loads(DASHBOARD.read_text(encoding="utf-8"))["templating"]["list"]
    asked = {one["name"]: one["query"] for one in listed if one["type"] == "query"}
    for name, query in asked.items():
        selector, label = re.fullmatch(r"label_values\((.+), (\w+)\)", query).groups()
        assert label == name
        assert len(prometheus.get(f"label/{label}/values", **{"match[]": with_all_chosen(selector)})) == 3
    assert set(asked) == {"job", "instance"}


@pytest.mark.parametrize("service", ["gateway", "auth", "messenger"])
def test_the_page_of_metrics_knows_where_each_is(prometheus: Prometheus, service: str) -> None:
    """An operator would look for a number at a service that does not have it, or that never counts it."""
    job = f'{{job="palaver-{service}", __name__=~"(palaver|process|python)_.+"}}'
    names = {series["metric"]["__name__"] for series in prometheus.evaluate(job)}
    scraped = {re.sub(r"_(bucket|sum|count|created)$", "", name) for name in names}
    # What is left of a counter's `_created` is its name without `_total`
    scraped -= {name.removesuffix("_total") for name in scraped if name.endswith("_total")}
    sections = metrics_by_section()
    callers = {} if service == "auth" else sections["Services that call others"]
    assert scraped == {*sections["Every service"], *callers, *sections[service.capitalize()]}


def test_panels_lie_side_by_side() -> None:
    """Panels would lie on one another, or change places with every edit."""
    taken: dict[tuple[int, int], str] = {}
    for panel in panels():
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]
    assert len({panel["id"] for panel in panels()}) == len(panels()) > 30
    asking = [panel for panel in panels() if panel["type"] != "row"]
    assert {panel["datasource"]["uid"] for panel in asking} == {"${datasource}"}


def test_prometheus_evaluates_the_rules(prometheus: Prometheus) -> None:
    """The alerts would be a file that nobody reads."""
    (group,) = prometheus.get("rules")["groups"]
    assert {rule["health"] for rule in group["rules"]} == {"ok"}
    assert len(group["rules"]) == len(rule_expressions()) == 4
