"""The engines in containers: what their compose file mounts, and the commands of Docker."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from palaver.infra.clickhouse import ROOT, server_xml, users_xml
from palaver.infra.credentials import Credentials, credentials_in
from palaver.infra.deployment import known_deployment
from palaver.infra.files import make_directory, make_local, packaged, rendered, write_file
from palaver.infra.mariadb import accounts_sql
from palaver.infra.redis import LOCAL, redis_conf
from palaver.infra.settings_file import FILE, Values, engine_settings, merge, write_settings
from palaver.infra.status import EngineStatus, Say
from palaver.infra.topology import CLICKHOUSE_NODES, ENGINES, MYSQL, REDIS, SCHEMAS, docker_topology
from palaver.runtime.deployment_secret import FILE as SECRET_FILE
from palaver.runtime.deployment_secret import made_secret
from palaver.runtime.settings import Settings
from palaver.runtime.startup import StartError

# Below the engines' directory, mounted into containers
DIRECTORY = "docker"
MOUNT = "/etc/palaver"
ANSWER_SECONDS = 10.0
# In a directory that its owner alone can enter: containers have other users, and must read what is mounted
READABLE = 0o644


def answers() -> bool:
    """Whether a Docker engine answers here, and knows compose files."""
    try:
        for command in (["docker", "version"], ["docker", "compose", "version"]):
            subprocess.run(command, capture_output=True, check=True, timeout=ANSWER_SECONDS)  # noqa: S603 - ours
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def start_all(directory: Path, settings: Settings, say: Say) -> Path:
    """Starts the engines, and waits until each answers. Returns the services' settings file.

    Raises `StartError`.
    """
    file = write_files(directory)
    run_compose(directory, settings, ["up", "--detach", "--wait", *ENGINES])
    for status in status_all(directory, settings):
        say(status.line())
    return file


def status_all(directory: Path, settings: Settings) -> list[EngineStatus]:
    """Every engine as it is now. Raises `StartError`."""
    shown = run_compose(directory, settings, ["ps", "--all", "--format", "json"], capture=True)
    return statuses_in(shown)


def stop_all(directory: Path, settings: Settings) -> None:
    """Stops services and engines; their volumes stay. Raises `StartError`."""
    run_compose(directory, settings, ["--profile", "services", "down"])


def run_services(directory: Path, settings: Settings) -> None:
    """Runs the services until Ctrl-C. Raises `StartError`."""
    services = ["gateway", "messenger", "auth", *(["archiver"] if settings.service.archivers else [])]
    run_compose(directory, settings, ["--profile", "services", "up", "--build", *services])


def run_command(directory: Path, settings: Settings, words: Sequence[str]) -> None:
    """Runs one `palaver` command in a container of the deployment. Raises `StartError`."""
    run_compose(
        directory, settings, ["run", "--build", "--rm", "palaver", *words, "--config", f"{MOUNT}/{FILE}"]
    )


def run_compose(directory: Path, settings: Settings, words: Sequence[str], *, capture: bool = False) -> str:
    """Runs a command of Docker's compose on the deployment. Returns what it prints, where that is captured.

    Raises `StartError`.
    """
    # Resolved, because the image is built from what lies beside the file itself
    file = Path(packaged("compose.yaml")).resolve()
    deployment = known_deployment(directory)
    project = deployment.project if deployment else ""
    command = ["docker", "compose", "--file", str(file), "--project-name", project, *words]
    try:
        done = subprocess.run(  # noqa: S603 - the command is ours
            command,
            env={**os.environ, **compose_variables(directory, settings)},
            stdout=subprocess.PIPE if capture else None,
            text=True,
            check=False,
        )
    except OSError as error:
        raise StartError(f"cannot run docker: {error.strerror}") from None
    if done.returncode != 0:
        raise StartError(f"docker compose {words[0]} ended with code {done.returncode}")
    return done.stdout or ""


def compose_variables(directory: Path, settings: Settings) -> Mapping[str, str]:
    """What the compose file takes from its environment."""
    return {
        "DEPLOY_FILES": str(directory / DIRECTORY),
        "DEPLOY_PORT": str(settings.gateway.port),
        "DEPLOY_MESSENGERS": str(settings.service.messengers),
        "DEPLOY_AUTHS": str(settings.service.auths),
        "DEPLOY_ARCHIVERS": str(settings.service.archivers),
    }


def write_files(directory: Path) -> Path:
    """Writes what containers mount. Returns the services' settings file. Raises `StartError`."""
    credentials, mounted = credentials_in(directory), make_directory(directory / DIRECTORY)
    write_mysql(make_mounted(mounted / MYSQL), credentials)
    write_redis(make_mounted(mounted / REDIS), credentials)
    for name in CLICKHOUSE_NODES:
        write_clickhouse(make_mounted(mounted / name), name, credentials)
    services = make_mounted(mounted / "services")
    write_file(services / SECRET_FILE, made_secret(directory.parent) + "\n", READABLE)
    write_settings(services / FILE, service_settings(credentials), READABLE)
    return services / FILE


def make_mounted(path: Path) -> Path:
    """A directory that containers can read. Raises `StartError`."""
    make_directory(path).chmod(0o755)
    return path


def write_mysql(directory: Path, credentials: Credentials) -> None:
    """What MySQL's container mounts. Raises `StartError`."""
    write_file(directory / "mysql.cnf", rendered("mysql.cnf", {}), READABLE)
    write_file(directory / "accounts.sql", accounts_sql(docker_topology(), credentials), READABLE)
    write_file(directory / "root_password", credentials.mysql_root + "\n", READABLE)
    for schema in SCHEMAS:
        account = f"[client]\nhost = 127.0.0.1\nuser = {schema}\npassword = {credentials.mysql[schema]}\n"
        write_file(directory / f"{schema}.cnf", account, READABLE)


def write_redis(directory: Path, credentials: Credentials) -> None:
    """What Redis' container mounts. Raises `StartError`."""
    port = docker_topology().addresses[REDIS].port
    local = f"{MOUNT}/redis.local.conf"
    write_file(directory / "redis.conf", redis_conf(credentials, "* -::*", port, "/data", local), READABLE)
    make_local(directory / "redis.local.conf", LOCAL).chmod(READABLE)
    write_file(directory / "password", credentials.redis + "\n", READABLE)


def write_clickhouse(directory: Path, name: str, credentials: Credentials) -> None:
    """What a node's container mounts. Raises `StartError`."""
    topology = docker_topology()
    write_file(directory / "clickhouse.xml", server_xml(name, ROOT, topology, credentials), READABLE)
    write_file(directory / "users.xml", users_xml(ROOT, topology, credentials, added=True), READABLE)
    write_file(directory / "clickhouse_password", credentials.clickhouse + "\n", READABLE)


def service_settings(credentials: Credentials) -> Values:
    """The settings of services in containers, each under its name in the deployment's network."""
    everywhere = "0.0.0.0"  # noqa: S104 - of a container, whose ports nothing publishes
    services: Values = {
        "data_dir": "/var/lib/palaver",
        "secret_file": f"{MOUNT}/{SECRET_FILE}",
        "gateway": {
            "private_host": everywhere,
            "auth_url": "http://auth:10001",
            "messenger_target": "messenger:10004",
            "messenger_stream": "messenger:10005",
            "messenger_url": "http://messenger:10003",
        },
        "auth": {"host": everywhere},
        "archive": {"host": everywhere},
        "messenger": {"host": everywhere, "stream_port": 10005, "auth_url": "http://auth:10001"},
    }
    return merge(services, engine_settings(docker_topology(), credentials))


def statuses_in(shown: str) -> list[EngineStatus]:
    """The engines that `docker compose ps --format json` shows: a JSON object a line, or a list of them."""
    text = shown.strip()
    rows: list[dict[str, Any]] = (
        json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]
    )
    found = {str(row.get("Service")): row for row in rows}
    return [container_status(name, found.get(name, {})) for name in ENGINES]


def container_status(name: str, row: Mapping[str, Any]) -> EngineStatus:
    """One engine as its container is."""
    health, image = str(row.get("Health", "")), str(row.get("Image", ""))
    runs = row.get("State") == "running"
    ports = docker_topology().addresses[name].ports
    return EngineStatus(
        name,
        runs,
        container=str(row.get("ID", "")),
        ports=ports,
        version=image.rpartition(":")[2] if runs and health == "healthy" else "",
        complaint=health if runs else "",
    )
