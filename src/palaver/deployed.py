"""`palaver service`: every service on this machine, each in any number, on the engines of a settings file.

Like `palaver up`, it keeps what is private on Unix sockets, and starts again what dies.
"""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import msgspec

from palaver.runtime.console import console
from palaver.runtime.directory_lock import lock_directory
from palaver.runtime.ports import WantedPort, check_listening
from palaver.runtime.replicas.addresses import SEPARATOR
from palaver.runtime.service_addresses import ServiceAddresses, published_addresses
from palaver.runtime.service_child import LOOPBACK, child_of, ports_of, prepare_log
from palaver.runtime.settings import Settings
from palaver.runtime.socket_directory import socket_directory
from palaver.runtime.startup import StartError, make_data_directory
from palaver.runtime.supervision import supervise
from palaver.runtime.unix_sockets import SCHEME
from palaver.standalone import (
    addresses_of,
    public_url,
    settings_of_one_machine,
    settings_with_ports,
    settings_with_secret,
)

COMMAND = "palaver service"
# Each further process of a service has its ports so much higher
PORT_STEP = 10


@dataclass(frozen=True, slots=True)
class Replica:
    """One process of a service, numbered from 1, and its settings."""

    service: str
    number: int
    settings: Settings


def run_deployed(settings: Settings) -> int:
    """Runs gateways, messengers, auths and archivers until SIGINT or SIGTERM. Returns the exit code.

    Raises `StartError` before anything was started.
    """
    began = time.monotonic()
    check_databases(settings)
    settings = settings_of_one_machine(settings, None, rates=True)
    with lock_directory(settings.data_dir, COMMAND) as lock:
        make_data_directory(settings.data_dir / "logs")
        settings = settings_with_secret(settings_with_ports(settings))
        with socket_directory(settings.data_dir) as directory:
            return run_replicas(replicas_of(settings, directory), lock, began)


def run_replicas(replicas: list[Replica], lock: int, began: float) -> int:
    """Runs the processes until a signal. Returns the exit code. Raises `StartError`."""
    check_listening([port for replica in replicas for port in wanted_ports(replica)])
    children = [child_of(replica.service, replica.settings, lock) for replica in replicas]
    for child in children:
        prepare_log(child)
    say, first = console(), replicas[0].settings
    with published_addresses(first.data_dir, addresses_for_commands(first)):
        return asyncio.run(supervise(children, say, lambda: say(summary(replicas, began))))


def addresses_for_commands(settings: Settings) -> ServiceAddresses:
    """The first process of each service, and every messenger: one that is away takes no command with it."""
    found = addresses_of(settings)
    first = ServiceAddresses(*(address.partition(SEPARATOR)[0] for address in msgspec.structs.astuple(found)))
    return msgspec.structs.replace(first, messenger_grpc=found.messenger_grpc)


def check_databases(settings: Settings) -> None:
    """Raises `StartError` where several processes would write into one file of SQLite."""
    for setting, count, url in (
        ("messenger", settings.service.messengers, settings.messenger.database_url),
        ("auth", settings.service.auths, settings.auth.database_url),
    ):
        if count > 1 and not url.startswith("mysql"):
            raise StartError(
                f"setting service.{setting}s: several need MySQL (setting {setting}.database_url)"
            )


def replicas_of(settings: Settings, directory: Path) -> list[Replica]:
    """All processes, in the order in which they are stopped: who calls goes before who is called.

    `directory`: of their sockets.
    """
    counts = {
        "gateway": settings.service.gateways,
        "messenger": settings.service.messengers,
        "auth": settings.service.auths,
        "archiver": settings.service.archivers if settings.archive.url else 0,
    }
    inside = settings_of_the_inside(settings, directory)
    return [
        Replica(service, number, settings_of_replica(inside, directory, number))
        for service, count in counts.items()
        for number in range(1, count + 1)
    ]


def settings_of_the_inside(settings: Settings, directory: Path) -> Settings:
    """Where all replicas find each other: a list each, with commas between."""
    messengers = range(1, settings.service.messengers + 1)
    auths = range(1, settings.service.auths + 1)

    def sockets(name: str, numbers: range) -> str:
        return SEPARATOR.join(SCHEME + socket_path(directory, name, number) for number in numbers)

    auth_url = sockets("auth", auths)
    health = [settings.messenger.http_port + PORT_STEP * (number - 1) for number in messengers]
    gateway = {
        "auth_url": auth_url,
        "messenger_target": sockets("messenger", messengers),
        "messenger_stream": sockets("streams", messengers),
        "messenger_url": SEPARATOR.join(f"http://{LOOPBACK}:{port}" for port in health),
    }
    return settings.model_copy(
        update={
            "gateway": settings.gateway.model_copy(update=gateway),
            "messenger": settings.messenger.model_copy(update={"auth_url": auth_url}),
        }
    )


def settings_of_replica(settings: Settings, directory: Path, number: int) -> Settings:
    """The settings with which the processes of this number listen, and name their logs."""
    step = PORT_STEP * (number - 1)
    gateway, auth, messenger = settings.gateway, settings.auth, settings.messenger
    return settings.model_copy(
        update={
            "gateway": gateway.model_copy(
                update={"port": gateway.port + step, "private_port": gateway.private_port + step}
            ),
            "auth": auth.model_copy(
                update={"port": auth.port + step, "socket": socket_path(directory, "auth", number)}
            ),
            "messenger": messenger.model_copy(
                update={
                    "http_port": messenger.http_port + step,
                    "grpc_socket": socket_path(directory, "messenger", number),
                    "stream_socket": socket_path(directory, "streams", number),
                }
            ),
            "archive": settings.archive.model_copy(update={"http_port": settings.archive.http_port + step}),
            "telemetry": settings.telemetry.model_copy(
                update={"instance": "" if number == 1 else str(number)}
            ),
        }
    )


def socket_path(directory: Path, name: str, number: int) -> str:
    """Where a process of this number has a socket."""
    return str(directory / (f"{name}.sock" if number == 1 else f"{name}-{number}.sock"))


def wanted_ports(replica: Replica) -> list[WantedPort]:
    """Where a process listens on TCP. Raises `StartError` for a port that no machine has."""
    name = "" if replica.number == 1 else f", number {replica.number}"
    wanted = [
        port._replace(setting=port.setting + name) for port in ports_of(replica.service, replica.settings)
    ]
    for setting, _, port in wanted:
        if port > 65_535:
            raise StartError(f"there is no port {port} ({setting})")
    return wanted


def summary(replicas: list[Replica], began: float) -> str:
    """What is ready, and where."""
    from rich.markup import escape

    urls = [public_url(one.settings.gateway) for one in replicas if one.service == "gateway"]
    counts = ", ".join(
        f"{count} {service}{'s' if count > 1 else ''}"
        for service, count in Counter(one.service for one in replicas).items()
    )
    directory = escape(str(replicas[0].settings.data_dir))
    return "\n".join(
        [
            f"[bold green]Palaver is ready[/] after {time.monotonic() - began:.1f} s ({counts}). "
            "Ctrl-C stops it.",
            *(f"  API   [bold]{url}[/]" for url in urls),
            f"  Docs  {urls[0]}/docs",
            f"  Data  {directory}",
            f"  Logs  {directory}/logs/",
        ]
    )
