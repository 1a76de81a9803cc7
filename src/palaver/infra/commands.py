"""`palaver infra up`, `status`, `down`, whichever way the engines run."""

import os
from collections.abc import Sequence
from pathlib import Path

from palaver.infra import docker, native
from palaver.infra.credentials import credentials_in
from palaver.infra.deployment import (
    DOCKER,
    Deployment,
    decide,
    directory_of,
    held_directory,
    known_deployment,
)
from palaver.infra.engine import check_owner
from palaver.infra.services import become_command, stop_services
from palaver.infra.settings_file import FILE, engine_settings, write_settings
from palaver.infra.status import EngineStatus, Say
from palaver.infra.topology import native_topology
from palaver.runtime.deployment_secret import FILE as SECRET_FILE
from palaver.runtime.deployment_secret import made_secret
from palaver.runtime.settings import Settings
from palaver.runtime.startup import StartError


def start_engines(settings: Settings, say: Say) -> Path:
    """Starts what does not run, and waits until each answers. Returns the services' settings file.

    Raises `StartError`.
    """
    with held_directory(settings) as directory:
        deployment = decide(
            directory,
            settings,
            docker=settings.infra.engines != "native" and docker.answers(),
            running=native.any_runs(directory),
        )
        if deployment.way == DOCKER:
            return docker.start_all(directory, settings, say)
        native.start_all(directory, deployment, say)
        return write_native_settings(directory, deployment)


def write_native_settings(directory: Path, deployment: Deployment) -> Path:
    """Writes the settings of services on native engines. Returns the file. Raises `StartError`."""
    data_dir = directory.parent
    made_secret(data_dir)
    topology, credentials = native_topology(deployment.first_port), credentials_in(directory)
    values = {"data_dir": str(data_dir), "secret_file": str(data_dir / SECRET_FILE)}
    path = directory / FILE
    write_settings(path, values | engine_settings(topology, credentials))
    return path


def engine_statuses(settings: Settings) -> list[EngineStatus]:
    """Every engine as it is now. Raises `StartError`."""
    directory, deployment = started_deployment(settings)
    if deployment.way == DOCKER:
        return docker.status_all(directory, settings)
    return native.status_all(directory, deployment)


def stop_engines(settings: Settings, say: Say) -> None:
    """Stops services and engines in order; their data stays. Raises `StartError`."""
    started_deployment(settings)
    with held_directory(settings) as directory:
        deployment = started_deployment(settings)[1]
        if deployment.way == DOCKER:
            docker.stop_all(directory, settings)
        else:
            stop_services(directory.parent, say)
            native.stop_all(directory, deployment, say)


def run_command(settings: Settings, words: Sequence[str]) -> None:
    """Runs a `palaver` command with the services' settings; as a process it becomes that command.

    `service` runs the services until Ctrl-C. Raises `StartError`.
    """
    directory, deployment = started_deployment(settings)
    if deployment.way != DOCKER:
        become_command(words, directory / FILE)
    if list(words) == ["service"]:
        docker.run_services(directory, settings)
    else:
        docker.run_command(directory, settings, words)


def started_deployment(settings: Settings) -> tuple[Path, Deployment]:
    """The directory of the engines, and what was decided at their first start. Raises `StartError`."""
    directory = directory_of(settings)
    # Before a look into it, which only its owner may take
    check_owner(directory.parent, os.geteuid())
    deployment = known_deployment(directory)
    if deployment is None:
        raise StartError(f"there are no engines in {directory}: `palaver infra up` makes them")
    return directory, deployment
