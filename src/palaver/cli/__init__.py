"""The command `palaver`: one subcommand a job. A service is imported only by the command that runs it."""

from typing import Annotated

import typer

import palaver
from palaver.cli.chat import chat
from palaver.cli.databases import keys, migrate
from palaver.cli.infra import infra
from palaver.cli.options import fail
from palaver.cli.service import service
from palaver.cli.services import archiver, auth, gateway, messenger
from palaver.cli.up import up
from palaver.cli.watch import logs, trace
from palaver.runtime.startup import StartError

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


def print_version(is_wanted: bool) -> None:
    """Prints the version and ends the command, where that is wanted."""
    if is_wanted:
        print(palaver.__version__)
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=print_version, help="Print the version.")
    ] = False,
) -> None:
    """What `palaver` takes before a command."""


def show_settings() -> None:
    """Print every setting with its default and meaning, as Markdown.

    Example:

        palaver settings | less
    """
    from palaver.runtime.settings_page import settings_page

    print(settings_page(), end="")


def version() -> None:
    """Print the version.

    Example:

        palaver version
    """
    print(palaver.__version__)


app.command()(up)
app.command()(gateway)
app.command()(auth)
app.command()(messenger)
app.command()(archiver)
app.command()(service)
app.command()(migrate)
app.command("settings")(show_settings)
app.command()(chat)
app.command()(version)
app.command()(trace)
app.command()(logs)
app.add_typer(keys, name="keys")
app.add_typer(infra, name="infra")


def main() -> None:
    """Runs the command line. What an operator can mend is one line on stderr, and exit code 1."""
    try:
        app()
    except StartError as error:
        fail(str(error))
