"""The engines in containers: the compose file, what it mounts, and that both ways are one topology.

No Docker engine is needed: the file is checked by the schema of the Compose specification, which lies in
tests/harness (compose-spec/compose-spec, Apache-2.0).
"""

import json
import re
import stat
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import jsonschema_rs
import pytest
import yaml

from palaver.infra import docker
from palaver.infra.credentials import credentials_in
from palaver.infra.deployment import Deployment
from palaver.infra.native import engines_of
from palaver.infra.settings_file import engine_settings
from palaver.infra.topology import (
    CLICKHOUSE_NODES,
    ENGINES,
    SCHEMAS,
    SHARD_NODES,
    docker_topology,
    native_topology,
)
from palaver.runtime.settings import Settings

REPOSITORY = Path(__file__).parents[3]
SCHEMA = REPOSITORY / "tests" / "harness" / "compose-spec.json"
SERVICES = {"gateway", "messenger", "auth", "archiver", "palaver"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The compose file."""
    found: dict[str, Any] = yaml.safe_load((REPOSITORY / "deploy" / "compose.yaml").read_text())
    return found


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The engines' directory, with what containers mount."""
    found = tmp_path / "infra"
    found.mkdir(mode=0o700)
    docker.write_files(found)
    return found


def test_the_file_follows_the_specification(compose: dict[str, Any]) -> None:
    """Docker would refuse the file, or ignore a misspelt key."""
    errors = jsonschema_rs.validator_for(json.loads(SCHEMA.read_text())).iter_errors(compose)
    assert [f"{error.instance_path}: {error.message}" for error in errors] == []


def test_the_file_has_the_topologys_engines(compose: dict[str, Any]) -> None:
    """The two ways would be two deployments, and one of them untested."""
    assert set(compose["services"]) == {*ENGINES, *SERVICES}
    assert set(compose["volumes"]) == set(ENGINES)


def test_only_the_gateway_is_published(compose: dict[str, Any]) -> None:
    """The network could try passwords on every engine."""
    assert {name for name, one in compose["services"].items() if "ports" in one} == {"gateway"}
    assert compose["networks"]["engines"]["internal"] is True
    for name in ENGINES:
        assert compose["services"][name]["networks"] == ["engines"]


@pytest.mark.parametrize("name", [*ENGINES, "gateway", "messenger", "auth", "archiver"])
def test_each_container_is_bounded_and_watched(compose: dict[str, Any], name: str) -> None:
    """One engine would take the machine's memory, or services would start before their engines answer."""
    container = compose["services"][name]
    assert {"cpus", "memory"} <= set(container["deploy"]["resources"]["limits"])
    assert container["healthcheck"]["test"]
    assert container["restart"] == "unless-stopped"
    image = container["image"].partition(":")[2]
    assert re.match(r"\d+\.\d+\.\d+", image) or image == "${DEPLOY_VERSION:-local}"


@pytest.mark.parametrize("name", ENGINES)
def test_each_engine_has_a_volume_for_its_data(compose: dict[str, Any], name: str) -> None:
    """An update of an image would delete the data."""
    assert any(volume.startswith(f"{name}:/") for volume in compose["services"][name]["volumes"])


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_services_are_not_root(compose: dict[str, Any], name: str) -> None:
    """A hole in a service would be one in the machine."""
    container = compose["services"][name]
    assert (container["read_only"], container["cap_drop"]) == (True, ["ALL"])
    lines = (REPOSITORY / "deploy" / "Dockerfile").read_text().splitlines()
    assert "USER palaver" in lines
    assert len([line for line in lines if line.startswith("FROM ")]) == 2


def test_every_mounted_file_is_written(compose: dict[str, Any], directory: Path) -> None:
    """Docker would make an empty directory in the place of a file, and an engine would have no password."""
    mounted = directory / docker.DIRECTORY
    for container in compose["services"].values():
        for volume in container.get("volumes", []):
            if volume.startswith("${DEPLOY_FILES"):
                assert (mounted / volume.partition("}")[2].split(":")[0].lstrip("/")).exists(), volume
    read = set(re.findall(r"/etc/palaver/([\w.]+)", json.dumps(compose)))
    written = {path.name for path in mounted.rglob("*")}
    assert read <= written


def test_containers_can_read_what_others_cannot(directory: Path) -> None:
    """An engine with a user of its own would not start, or every user could read its password."""
    mounted = directory / docker.DIRECTORY
    assert stat.S_IMODE(mounted.stat().st_mode) == 0o700
    for path in mounted.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o644)


def test_both_ways_have_the_same_accounts(directory: Path, tmp_path: Path) -> None:
    """A deployment that moves from one way to the other would find other schemas and accounts."""
    native = tmp_path / "native"
    native.mkdir()
    (native / "passwords.json").write_bytes((directory / "passwords.json").read_bytes())
    for engine in engines_of(native, Deployment("native", 23_300)):
        engine.prepare()
    mounted = directory / docker.DIRECTORY
    there, here = ((one / "mysql" / "accounts.sql").read_text() for one in (mounted, native))
    assert there.replace("'@'%'", "'@'127.0.0.1'") == here
    assert (mounted / "mysql" / "mysql.cnf").read_text() == (native / "mysql" / "mysql.cnf").read_text()
    for name in CLICKHOUSE_NODES:
        users = [
            ElementTree.parse(path).findtext("users/palaver/password_sha256_hex")
            for path in (mounted / name / "users.xml", native / name / "users.xml")
        ]
        assert users[0] == users[1] is not None
    lines = [(one / "redis" / "redis.conf").read_text().splitlines() for one in (mounted, native)]
    different = ("bind ", "port ", "dir ", "include ")
    assert [line for line in lines[0] if not line.startswith(different)] == [
        line for line in lines[1] if not line.startswith(different)
    ]


def test_both_ways_have_the_same_shards(directory: Path) -> None:
    """Operators' SELECTs would miss a shard, in one of the two ways."""
    cluster = ElementTree.parse(directory / docker.DIRECTORY / "clickhouse-cluster" / "clickhouse.xml")
    shards = cluster.findall("remote_servers/palaver/shard/replica")
    assert [(one.findtext("host"), one.findtext("port")) for one in shards] == [
        (name, "9000") for name in SHARD_NODES
    ]


def test_both_ways_have_the_same_settings(directory: Path) -> None:
    """A service would start without an engine, in one of the two ways."""
    credentials = credentials_in(directory)
    native = engine_settings(native_topology(23_300), credentials)
    there = tomllib.loads((directory / docker.DIRECTORY / "services" / "palaver.toml").read_text())
    for section, values in native.items():
        assert values.keys() <= there[section].keys()
        for key, value in values.items():
            here, url = urlsplit(str(value)), urlsplit(str(there[section][key]))
            assert (here.scheme, here.username, here.password, here.path) == (
                url.scheme,
                url.username,
                url.password,
                url.path,
            )
            assert not url.hostname or url.port == docker_topology().addresses[url.hostname].port
    assert set(SCHEMAS) <= there.keys()


def test_statuses_are_read_from_either_form_of_docker() -> None:
    """`palaver infra status` would fail with one release of Docker, or call a sick engine well."""
    rows = [
        {
            "Service": "mysql",
            "State": "running",
            "Health": "healthy",
            "ID": "0123456789abcdef",
            "Image": "mysql:8.4.10",
        },
        {"Service": "redis", "State": "running", "Health": "starting", "ID": "1", "Image": "redis:8"},
    ]
    for text in (json.dumps(rows), "\n".join(map(json.dumps, rows)) + "\n"):
        found = {one.name: one for one in docker.statuses_in(text)}
        assert set(found) == set(ENGINES)
        assert (found["mysql"].version, found["redis"].complaint) == ("8.4.10", "starting")
        assert not found["redis"].answers
        assert not found["clickhouse-shard-0"].runs
    assert not any(one.runs for one in docker.statuses_in(""))


def test_compose_gets_the_settings(tmp_path: Path) -> None:
    """The gateway would be published on another port than the settings say."""
    settings = Settings()
    settings.gateway.port = 8080
    variables = docker.compose_variables(tmp_path, settings)
    text = (REPOSITORY / "deploy" / "compose.yaml").read_text()
    used = set(re.findall(r"\$\{(DEPLOY_\w+)", text))
    assert used - {"DEPLOY_VERSION"} == set(variables)
    assert variables["DEPLOY_PORT"] == "8080"
