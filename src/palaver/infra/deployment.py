"""What a deployment has decided at its first start, and keeps: how its engines run, and on which ports."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import msgspec

from palaver.infra.engine import check_owner
from palaver.infra.files import make_directory, read_file, write_file
from palaver.infra.topology import BLOCK, native_topology
from palaver.runtime.directory_lock import lock_directory
from palaver.runtime.ports import WantedPort, check_listening, listening
from palaver.runtime.settings import Settings
from palaver.runtime.startup import StartError, make_data_directory

DIRECTORY = "infra"
FILE = "deployment.json"
NATIVE, DOCKER = "native", "docker"
# Blocks of ports that are tried. Far from those of servers that a machine may have (3306, 6379, 8123, 9000),
# and below those of outgoing connections
FIRST_PORTS = range(23_300, 32_700, 100)


class Deployment(msgspec.Struct, frozen=True):
    """How engines run (`native`, `docker`).

    `first_port`: of native ones. `project`: Docker's name for the containers and volumes of this directory.
    """

    way: str
    first_port: int = 0
    project: str = ""


def directory_of(settings: Settings) -> Path:
    """The part of the data directory that the engines have."""
    return settings.data_dir.expanduser().absolute() / DIRECTORY


@contextlib.contextmanager
def held_directory(settings: Settings) -> Iterator[Path]:
    """The engines' directory, made where it is missing, for this command alone. Raises `StartError`."""
    directory = directory_of(settings)
    check_owner(directory.parent, os.geteuid())
    make_data_directory(directory.parent)
    check_owner(directory, os.geteuid())
    make_directory(directory)
    with lock_directory(directory, "palaver infra"):
        yield directory


def known_deployment(directory: Path) -> Deployment | None:
    """What was decided; None before the first start. Raises `StartError`."""
    path = directory / FILE
    if not path.exists():
        return None
    try:
        return msgspec.json.decode(read_file(path), type=Deployment)
    except msgspec.DecodeError:
        raise StartError(f"{path} is none of `palaver infra up`: restore it from a backup") from None


def decide(directory: Path, settings: Settings, *, docker: bool, running: bool) -> Deployment:
    """The deployment, by what is known and what the settings want; kept. Raises `StartError`.

    `docker`: an engine of Docker answers. `running`: some of its processes run.
    """
    known = known_deployment(directory)
    wanted = settings.infra
    way = known.way if known else (DOCKER if docker else NATIVE)
    if wanted.engines not in ("auto", way):
        if known:
            raise StartError(f"setting infra.engines: the engines in {directory} are {way} ones")
        way = wanted.engines
    if way == DOCKER:
        project = known.project if known else f"palaver-{secrets.token_hex(4)}"
        decided = Deployment(DOCKER, project=project)
    else:
        decided = Deployment(NATIVE, first_port_of(known, wanted.first_port, running=running))
    if decided != known:
        write_file(directory / FILE, msgspec.json.encode(decided).decode() + "\n")
    return decided


def first_port_of(known: Deployment | None, wanted: int, *, running: bool) -> int:
    """The first port: as set, as known, or of the first block that is free. Raises `StartError`."""
    if known and wanted in (0, known.first_port):
        return known.first_port
    if wanted and running:
        raise StartError("setting infra.first_port: the engines run on others; `palaver infra down` first")
    return wanted or free_block()


def free_block() -> int:
    """The first port of a block whose ports nobody listens on. Raises `StartError`."""
    for first in FIRST_PORTS:
        if all(is_free(first + offset) for offset in range(BLOCK)):
            return first
    raise StartError("there are no free ports (infra.first_port)")


def is_free(port: int) -> bool:
    """Whether nobody listens on a port, on any address."""
    try:
        listening("0.0.0.0", port).close()  # noqa: S104 - free on every address
    except OSError:
        return False
    return True


def check_ports(name: str, first_port: int) -> None:
    """Raises `StartError` for a port of an engine that another program has."""
    address = native_topology(first_port).addresses[name]
    check_listening([WantedPort(f"{name}, infra.first_port", address.host, port) for port in address.ports])
