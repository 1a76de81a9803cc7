"""`palaver up`: every service on this machine, each a process, on embedded engines.

All that can be wrong is looked for before anything is started.
"""

import asyncio
import os
import time
from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

from palaver.runtime.child_process import Child
from palaver.runtime.console import console
from palaver.runtime.deployment_secret import made_secret, secret_of
from palaver.runtime.directory_lock import lock_directory
from palaver.runtime.ports import check_listening, free_ports
from palaver.runtime.service_addresses import ServiceAddresses, published_addresses
from palaver.runtime.service_child import LOOPBACK, SERVICES, child_of, ports_of, prepare_log
from palaver.runtime.settings import Settings
from palaver.runtime.settings.gateway import GatewaySettings
from palaver.runtime.socket_directory import socket_directory
from palaver.runtime.startup import make_data_directory
from palaver.runtime.supervision import supervise
from palaver.runtime.unix_sockets import SCHEME


def run_services(settings: Settings, port: int | None = None, rates: bool = True) -> int:
    """Runs gateway, auth and messenger until SIGINT or SIGTERM. Returns the exit code.

    `port` is the public port in the settings' place; private ports are free ones then.
    Raises `StartError` before anything was started.
    """
    began = time.monotonic()
    settings = settings_of_one_machine(settings, port, rates)
    with lock_directory(settings.data_dir) as lock:
        make_data_directory(settings.data_dir / "logs")
        settings = settings_with_secret(settings_with_ports(settings))
        check_ports(settings)
        check_databases(settings)
        with socket_directory(settings.data_dir) as directory:
            return run_children(settings_with_sockets(settings, directory), lock, began, rates=rates)


def run_children(settings: Settings, lock: int, began: float, *, rates: bool) -> int:
    """Runs the services until a signal. Returns the exit code. Raises `StartError`."""
    children = services(settings, lock)
    for child in children:
        prepare_log(child)
    say = console()
    if not rates:
        say("[yellow]Rate limits are off: for benchmarks and imports only.[/]")
    with published_addresses(settings.data_dir, addresses_of(settings)):
        return asyncio.run(supervise(children, say, lambda: say(summary(settings, began))))


def settings_of_one_machine(settings: Settings, port: int | None, rates: bool) -> Settings:
    """What `palaver up` decides by itself: only the gateway is reachable from elsewhere."""
    gateway: dict[str, object] = {"private_host": LOOPBACK}
    auth: dict[str, object] = {"host": LOOPBACK}
    messenger: dict[str, object] = {"host": LOOPBACK}
    if port is not None:
        gateway |= {"port": port, "private_port": 0}
        auth["port"] = messenger["http_port"] = 0
    if not rates:
        gateway["rates"] = auth["rates"] = messenger["rates"] = False
    return settings.model_copy(
        update={
            "data_dir": settings.data_dir.expanduser().absolute(),
            "gateway": settings.gateway.model_copy(update=gateway),
            "auth": settings.auth.model_copy(update=auth),
            "messenger": settings.messenger.model_copy(update=messenger),
            "telemetry": settings.telemetry.model_copy(update={"log_to": "file", "instance": ""}),
        }
    )


def settings_with_ports(settings: Settings) -> Settings:
    """A free port for each 0. Those of all but the gateway serve health and metrics alone."""
    free = free_ports()
    gateway = settings.gateway.model_copy()
    auth = settings.auth.model_copy()
    messenger = settings.messenger.model_copy()
    archive = settings.archive.model_copy()
    gateway.port = gateway.port or next(free)
    gateway.private_port = gateway.private_port or next(free)
    auth.port = auth.port or next(free)
    messenger.http_port = messenger.http_port or next(free)
    archive.http_port = archive.http_port or next(free)
    gateway.messenger_url = f"http://{LOOPBACK}:{messenger.http_port}"
    return settings.model_copy(
        update={"gateway": gateway, "auth": auth, "messenger": messenger, "archive": archive}
    )


def settings_with_secret(settings: Settings) -> Settings:
    """The secret of the settings, or the data directory's own. Raises `StartError`."""
    if settings.secret or settings.secret_file:
        secret_of(settings)
        return settings
    return settings.model_copy(update={"secret": [SecretStr(made_secret(settings.data_dir))]})


def settings_with_sockets(settings: Settings, directory: Path) -> Settings:
    """The inside on Unix sockets: what no other user of this machine can connect to."""
    gateway = settings.gateway.model_copy()
    auth = settings.auth.model_copy()
    messenger = settings.messenger.model_copy()
    auth.socket = str(directory / "auth.sock")
    messenger.grpc_socket = str(directory / "messenger.sock")
    messenger.stream_socket = str(directory / "streams.sock")
    gateway.auth_url = messenger.auth_url = SCHEME + auth.socket
    gateway.messenger_target = SCHEME + messenger.grpc_socket
    gateway.messenger_stream = SCHEME + messenger.stream_socket
    return settings.model_copy(update={"gateway": gateway, "auth": auth, "messenger": messenger})


def addresses_of(settings: Settings) -> ServiceAddresses:
    """Where the services listen, for commands on this machine."""
    gateway = settings.gateway
    return ServiceAddresses(
        gateway=public_url(gateway),
        auth=gateway.auth_url,
        messenger=gateway.messenger_url,
        messenger_grpc=gateway.messenger_target,
        gateway_private=f"http://{LOOPBACK}:{gateway.private_port}",
    )


def public_url(gateway: GatewaySettings) -> str:
    """The gateway's base URL, as this machine reaches it."""
    host = "localhost" if gateway.host in ("0.0.0.0", "::") else gateway.host  # noqa: S104 - compared
    return f"http://{f'[{host}]' if ':' in host else host}:{gateway.port}"


def check_ports(settings: Settings) -> None:
    """Raises `StartError` for a port that another program, or another of our services, has."""
    check_listening([port for service in SERVICES for port in ports_of(service, settings)])


def check_databases(settings: Settings) -> None:
    """Raises `StartError` for a database that no service could use."""
    from palaver.auth import database as auth
    from palaver.messenger import database as messenger
    from palaver.runtime.sql.locations import check_location

    check_location(auth.location_of(settings), auth.KIND)
    check_location(messenger.location_of(settings), messenger.KIND)


def services(
    settings: Settings, lock: int | None = None, environ: Mapping[str, str] = os.environ
) -> list[Child]:
    """The three processes, in the order in which they are stopped: who calls goes before who is called."""
    return [child_of(name, settings, lock, environ) for name in SERVICES]


def summary(settings: Settings, began: float) -> str:
    """What is ready, and where."""
    url = public_url(settings.gateway)
    from rich.markup import escape

    directory = escape(str(settings.data_dir))
    return "\n".join(
        [
            f"[bold green]Palaver is ready[/] after {time.monotonic() - began:.1f} s. Ctrl-C stops it.",
            f"  API   [bold]{url}[/]",
            f"  Docs  {url}/docs",
            f"  Data  {directory}",
            f"  Logs  {directory}/logs/ (gateway.log, messenger.log, auth.log)",
        ]
    )
