"""The command line: one subcommand a job. A service is imported only by the command that runs it."""

import asyncio
import errno
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

import palaver
from palaver.cli.options import Config
from palaver.cli.watch import watch
from palaver.runtime.child_process import die_with_parent
from palaver.runtime.grpc.polling import poll_in_one_thread
from palaver.runtime.settings import Settings, load_settings
from palaver.runtime.startup import StartError, make_data_directory

# What an operator can mend about an address to listen on; other errors keep their traceback.
ADDRESS_ERRORS = (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES)

Serve = Callable[[Settings, asyncio.Event], Coroutine[Any, Any, None]]

app = typer.Typer(
    name="palaver",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Palaver: a self-hosted messaging backend.\n\n"
    "`palaver up` starts all of it on this machine. For example:\n\n"
    "    palaver up --data-dir /var/lib/palaver --port 8080",
)
keys = typer.Typer(
    no_args_is_help=True,
    help="The keys that sign access tokens.\n\nExample:\n\n    palaver keys rotate",
)
app.add_typer(keys, name="keys")
app.add_typer(watch)

WithParent = Annotated[
    int | None, typer.Option("--with-parent", hidden=True, help="End when this process, our parent, ends.")
]


def print_version(asked: bool) -> None:
    """Prints the version and ends the command, where it is asked for."""
    if asked:
        print(palaver.__version__)
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=print_version, help="Print the version.")
    ] = False,
) -> None:
    """What `palaver` takes before a command."""


@app.command()
def up(
    data_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where databases, keys and logs are. Made if missing.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            metavar="N",
            help="Public port; the private ports are free ones then. 0: a free one.",
        ),
    ] = None,
    no_rate_limits: Annotated[
        bool, typer.Option("--no-rate-limits", help="Limit no rates: for benchmarks and imports.")
    ] = False,
    config: Config = None,
) -> None:
    """Start gateway, auth and messenger on this machine, on embedded engines.

    Each is a process, and is started again when it dies. Ctrl-C stops them in order. All data is in the data
    directory; a second start keeps it.

    Example, a second Palaver beside the first:

        palaver up --data-dir /tmp/other --port 10100
    """
    from palaver.standalone import run_services

    settings = load_settings(config)
    if data_dir is not None:
        settings.data_dir = data_dir
    raise typer.Exit(run_services(settings, port, rates=not no_rate_limits))


@app.command()
def gateway(config: Config = None, with_parent: WithParent = None) -> None:
    """Run the gateway: the one public door, HTTP and WebSocket.

    Example:

        PALAVER_GATEWAY__PORT=8080 palaver gateway
    """
    start_service("gateway", config, with_parent)


@app.command()
def auth(config: Config = None, with_parent: WithParent = None) -> None:
    """Run auth: accounts, sessions and signing keys, by private REST.

    Example:

        palaver auth --config /etc/palaver.toml
    """
    start_service("auth", config, with_parent)


@app.command()
def messenger(config: Config = None, with_parent: WithParent = None) -> None:
    """Run the messenger: chats and messages, by private gRPC.

    Example:

        palaver messenger --config /etc/palaver.toml
    """
    start_service("messenger", config, with_parent)


@app.command()
def migrate(config: Config = None) -> None:
    """Bring the databases of auth and messenger to the newest schema.

    Services do so by themselves when they start; do it before where that takes long.

    Example:

        palaver migrate --config /etc/palaver.toml
    """
    settings = load_settings(config)
    make_data_directory(settings.data_dir)
    from palaver.auth.bootstrap import migrate_database as migrate_auth
    from palaver.messenger.bootstrap import migrate_database as migrate_messenger

    for service, migrate_database in (("auth", migrate_auth), ("messenger", migrate_messenger)):
        changed = migrate_database(settings)
        print(f"{service}: {'migrated to the newest schema' if changed else 'has the newest schema'}")


@keys.command("rotate")
def rotate(config: Config = None) -> None:
    """Sign new access tokens with a new key. Tokens of the old one live on until they expire.

    Example:

        palaver keys rotate --config /etc/palaver.toml
    """
    settings = load_settings(config)
    make_data_directory(settings.data_dir)
    from palaver.auth.bootstrap import rotate_keys

    print(f"New access tokens are signed with key {rotate_keys(settings)}.")


@app.command("settings")
def show_settings() -> None:
    """Print every setting with its default and meaning, as Markdown.

    Example:

        palaver settings | less
    """
    from palaver.runtime.settings_page import settings_page

    print(settings_page(), end="")


@app.command()
def chat(
    email: Annotated[str, typer.Argument(help="Email of whom to chat with.")],
    me: Annotated[
        str | None, typer.Option("--as", metavar="EMAIL", help="Your own; else it is asked.")
    ] = None,
    url: Annotated[str, typer.Option(help="The gateway's address.")] = "http://localhost:10000",
) -> None:
    """Chat with somebody in the terminal. Asks for your password; Ctrl-D leaves.

    Example:

        palaver chat alice@example.org --as bob@example.org --url https://chat.example.org
    """
    from palaver.client.terminal import run

    raise typer.Exit(run(email, url, me))


@app.command()
def version() -> None:
    """Print the version.

    Example:

        palaver version
    """
    print(palaver.__version__)


def start_service(name: str, config: Path | None, parent: int | None) -> None:
    """Runs a service in this process until SIGINT or SIGTERM."""
    if parent is not None:
        die_with_parent(parent)
    settings = load_settings(config)
    if name != "gateway" or settings.telemetry.writes_files:
        make_data_directory(settings.data_dir)
    poll_in_one_thread()
    from palaver.runtime.lifecycle import run_service
    from palaver.runtime.telemetry.configuration import close_telemetry, configure_telemetry

    serve = serve_of(name)
    configure_telemetry(name, settings.telemetry, settings.data_dir)
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
    from palaver.messenger.bootstrap import serve as serve_messenger

    return serve_messenger


def fail(reason: str) -> NoReturn:
    """Ends the process with one line."""
    raise SystemExit(f"palaver: {reason}")


def main() -> None:
    """The command `palaver`. What an operator can mend is one line on stderr, and exit code 1."""
    try:
        app()
    except StartError as error:
        fail(str(error))
