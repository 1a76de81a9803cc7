"""A service as a child process of a command that supervises it."""

import os
import sys
from collections.abc import Mapping

from palaver.runtime.child_process import Child, open_log
from palaver.runtime.ports import WantedPort
from palaver.runtime.settings import PREFIX, Settings, settings_environment
from palaver.runtime.startup import StartError

# Of each Palaver, in the order in which they are stopped: who calls goes before who is called
SERVICES = ("gateway", "messenger", "auth")
LOOPBACK = "127.0.0.1"
# What a stopping service may take beyond its own draining.
STOP_SECONDS = 5.0


def child_of(
    service: str, settings: Settings, lock: int | None = None, environ: Mapping[str, str] = os.environ
) -> Child:
    """The process of a service with exactly these settings; `telemetry.instance` is a part of its name.

    `lock`: a file descriptor that it keeps open.
    """
    environment = {name: value for name, value in environ.items() if not name.upper().startswith(PREFIX)}
    environment |= settings_environment(settings)
    # A crash inside a C library leaves a traceback in the log
    environment["PYTHONFAULTHANDLER"] = "1"
    host, port, stop_seconds = ready_at(service, settings)
    name = "-".join(filter(None, (service, settings.telemetry.instance)))
    return Child(
        name,
        [sys.executable, "-m", "palaver", service, "--with-parent", str(os.getpid())],
        settings.data_dir / "logs" / f"{name}.log",
        host="::1" if host == "::" else host,
        port=port,
        stop_seconds=stop_seconds,
        environment=environment,
        keeps_open=lock,
    )


def ready_at(service: str, settings: Settings) -> tuple[str, int, float]:
    """Host and port of a service's `/readyz`, and how long it may take to stop."""
    if service == "gateway":
        gateway = settings.gateway
        public = LOOPBACK if gateway.host in ("0.0.0.0", "") else gateway.host  # noqa: S104 - compared
        return public, gateway.port, gateway.drain_seconds + STOP_SECONDS
    if service == "messenger":
        return settings.messenger.host, settings.messenger.http_port, 2 * STOP_SECONDS
    if service == "archiver":
        return settings.archive.host, settings.archive.http_port, STOP_SECONDS
    return settings.auth.host, settings.auth.port, STOP_SECONDS


def ports_of(service: str, settings: Settings) -> list[WantedPort]:
    """Where a service listens on TCP, its other calls being on Unix sockets."""
    if service == "gateway":
        gateway = settings.gateway
        return [
            WantedPort("gateway.port", gateway.host, gateway.port),
            WantedPort("gateway.private_port", gateway.private_host, gateway.private_port),
        ]
    if service == "messenger":
        return [WantedPort("messenger.http_port", settings.messenger.host, settings.messenger.http_port)]
    if service == "archiver":
        return [WantedPort("archive.http_port", settings.archive.host, settings.archive.http_port)]
    return [WantedPort("auth.port", settings.auth.host, settings.auth.port)]


def prepare_log(child: Child) -> None:
    """Raises `StartError` where the child's log can't be written."""
    try:
        open_log(child.log_file).close()
    except OSError as error:
        raise StartError(f"cannot write log {child.log_file}: {error.strerror}") from None
