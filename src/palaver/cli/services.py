"""`palaver gateway`, `palaver auth`, `palaver messenger`, `palaver archiver`: one service in this process."""

import asyncio
import errno
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import typer

from palaver.cli.options import Config, WithParent, fail
from palaver.runtime.child_process import die_with_parent
from palaver.runtime.grpc.polling import poll_in_one_thread
from palaver.runtime.settings import Settings, load_settings
from palaver.runtime.startup import FINAL_CODE, StartError, make_data_directory

# What an operator can mend about an address to listen on; other errors keep their traceback.
ADDRESS_ERRORS = (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES)

Serve = Callable[[Settings, asyncio.Event], Coroutine[Any, Any, None]]


def gateway(config: Config = None, with_parent: WithParent = None) -> None:
    """Run the gateway: the one public door, HTTP and WebSocket.

    Example:

        PALAVER_GATEWAY__PORT=8080 palaver gateway
    """
    start_service("gateway", config, with_parent)


def auth(config: Config = None, with_parent: WithParent = None) -> None:
    """Run auth: accounts, sessions and signing keys, by private REST.

    Example:

        palaver auth --config /etc/palaver.toml
    """
    start_service("auth", config, with_parent)


def messenger(config: Config = None, with_parent: WithParent = None) -> None:
    """Run the messenger: chats and messages, by private gRPC.

    Example:

        palaver messenger --config /etc/palaver.toml
    """
    start_service("messenger", config, with_parent)


def archiver(config: Config = None, with_parent: WithParent = None) -> None:
    """Run the archiver: moves messages from the journal to ClickHouse. Of several, one does it at a time.

    Example:

        PALAVER_ARCHIVE__URL=clickhouse://palaver:secret@10.0.0.5:9000/palaver palaver archiver
    """
    start_service("archiver", config, with_parent)


def start_service(name: str, config: Path | None, parent: int | None) -> None:
    """Runs a service until SIGINT or SIGTERM. As a child of `palaver up` it ends with a code of its own where
    another start would be in vain."""
    if parent is None:
        run(name, config)
        return
    die_with_parent(parent)
    try:
        run(name, config)
    except StartError as error:
        if error.passes:
            raise
        typer.echo(f"palaver: {error}", err=True)
        raise typer.Exit(FINAL_CODE) from None


def run(name: str, config: Path | None) -> None:
    """Runs a service. Raises `StartError`."""
    settings = load_settings(config)
    if name != "gateway" or settings.telemetry.writes_files:
        make_data_directory(settings.data_dir)
    poll_in_one_thread()
    from palaver.runtime.lifecycle import run_service
    from palaver.runtime.telemetry.configuration import close_telemetry, configure_telemetry
    from palaver.runtime.telemetry.error_texts import install_hooks

    serve = serve_of(name)
    configure_telemetry(name, settings.telemetry, settings.data_dir)
    install_hooks()
    try:
        run_service(lambda stopping: serve(settings, stopping))
    except OSError as error:
        if error.errno not in ADDRESS_ERRORS:
            raise
        fail(f"{name} cannot listen: {error.strerror}")
    finally:
        close_telemetry()


def serve_of(name: str) -> Serve:
    """What runs the service; the others are not imported."""
    if name == "gateway":
        from palaver.gateway.bootstrap import serve as serve_gateway

        return serve_gateway
    if name == "auth":
        from palaver.auth.bootstrap import serve as serve_auth

        return serve_auth
    if name == "archiver":
        from palaver.messenger.archiver_bootstrap import serve as serve_archiver

        return serve_archiver
    from palaver.messenger.bootstrap import serve as serve_messenger

    return serve_messenger
