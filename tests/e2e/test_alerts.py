"""The alert rules, by Prometheus' own tool: silent on good days, and right about bad ones."""

import re
import shutil
from pathlib import Path

import yaml

from palaver.runtime.settings import Settings
from tests.harness.prometheus import DEPLOYED, REPOSITORY, promtool

CASES = Path(__file__).with_name("alert_cases.yml")


def test_alerts_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    """An operator would sleep through an outage, or be woken for nothing until nobody looks any more."""
    shutil.copy(CASES, tmp_path)
    shutil.copy(DEPLOYED / "alerts.yml", tmp_path)
    promtool("test", "rules", CASES.name, directory=tmp_path)


def test_prometheus_takes_the_configuration() -> None:
    """Prometheus would not start with what we tell operators to give it."""
    promtool("check", "config", "prometheus.yml", directory=DEPLOYED)


def test_every_service_is_scraped_on_its_default_port() -> None:
    """Whoever follows the page would see targets that are down."""
    settings = Settings()
    ports = {
        "palaver-gateway": settings.gateway.private_port,
        "palaver-auth": settings.auth.port,
        "palaver-messenger": settings.messenger.http_port,
    }
    jobs = yaml.safe_load((DEPLOYED / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    found = {job["job_name"]: job["static_configs"][0]["targets"] for job in jobs}
    assert found == {job: [f"localhost:{port}"] for job, port in ports.items()}


def test_every_alert_says_what_to_do() -> None:
    """Somebody who is woken at night would have to find it out."""
    (group,) = yaml.safe_load((DEPLOYED / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    assert len(group["rules"]) == 4
    for rule in group["rules"]:
        assert rule["for"]
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        headings = re.findall(r"^#+ (.+)$", (REPOSITORY / page).read_text(encoding="utf-8"), re.MULTILINE)
        assert rule["alert"] in headings
        assert anchor == rule["alert"].lower()
