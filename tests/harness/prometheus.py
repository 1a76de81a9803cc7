"""A real Prometheus for a test: it scrapes the services of a running Palaver, and answers PromQL."""

import contextlib
import json
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.harness.palaver_process import PalaverProcess
from tests.harness.processes import ChildProcess

REPOSITORY = Path(__file__).parents[2]
DEPLOYED = REPOSITORY / "deploy" / "prometheus"
# Also the time that a scrape may take: one that fails ends every series
SCRAPE_SECONDS = 1.0
LISTENING = r'msg="Listening on" address=(\S+)'
# The setting that holds the port which a service's /metrics is on
PORTS = {
    "gateway": "PALAVER_GATEWAY__PRIVATE_PORT",
    "auth": "PALAVER_AUTH__PORT",
    "messenger": "PALAVER_MESSENGER__HTTP_PORT",
}


@dataclass(frozen=True)
class Prometheus:
    """A Prometheus that runs."""

    url: str

    def get(self, path: str, **parameters: str) -> Any:
        """The `data` of a response of its HTTP API. Raises `ValueError` with its error text."""
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                return json.load(response)["data"]
        except urllib.error.HTTPError as refusal:
            raise ValueError(json.load(refusal)["error"]) from None

    def evaluate(self, expression: str) -> list[dict[str, Any]]:
        """The series that an expression gives now: labels in `metric`, time and number in `value`."""
        return list(self.get("query", query=expression)["result"])

    def number(self, expression: str) -> float:
        """The one number that an expression gives; 0 where it gives none."""
        found = self.evaluate(expression)
        assert len(found) <= 1, found
        return float(found[0]["value"][1]) if found else 0.0


def metrics_addresses(running: PalaverProcess) -> dict[str, str]:
    """Host and port of each service's /metrics."""
    return {
        service: f"127.0.0.1:{psutil.Process(running.pids[service]).environ()[variable]}"
        for service, variable in PORTS.items()
    }


def deployed_config(addresses: Mapping[str, str]) -> dict[str, Any]:
    """deploy/prometheus/prometheus.yml with other addresses, quicker."""
    config: dict[str, Any] = yaml.safe_load((DEPLOYED / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = dict.fromkeys(
        ("scrape_interval", "evaluation_interval"), f"{SCRAPE_SECONDS * 1000:g}ms"
    )
    assert {job["job_name"] for job in config["scrape_configs"]} == {f"palaver-{name}" for name in addresses}
    for job in config["scrape_configs"]:
        job["static_configs"][0]["targets"] = [addresses[job["job_name"].removeprefix("palaver-")]]
        job["scrape_timeout"] = config["global"]["scrape_interval"]
    return config


@contextlib.contextmanager
def running_prometheus(directory: Path, addresses: Mapping[str, str]) -> Iterator[Prometheus]:
    """A Prometheus with the deployed configuration and rules that scrapes `addresses`, for the block."""
    shutil.copy(DEPLOYED / "alerts.yml", directory)
    (directory / "prometheus.yml").write_text(yaml.safe_dump(deployed_config(addresses)))
    command = [
        "prometheus",
        f"--config.file={directory}/prometheus.yml",
        f"--storage.tsdb.path={directory}/tsdb",
        "--web.listen-address=127.0.0.1:0",
    ]
    process = ChildProcess.start(command, directory / "prometheus.log")
    try:
        process.wait_for("Server is ready to receive web requests")
        yield Prometheus(f"http://{process.wait_for(LISTENING)[1]}")
    finally:
        process.stop()


def promtool(*arguments: str, directory: Path) -> None:
    """Runs `promtool`, which must be content."""
    done = subprocess.run(
        ["promtool", *arguments], cwd=directory, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
