"""`palaver infra`: the engines of a deployment."""

import json
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer

from palaver.cli.options import AsJson, Config, DataDir, settings_of

infra = typer.Typer(
    no_args_is_help=True,
    help="MySQL, ClickHouse and Redis of a deployment.\n\nExample:\n\n    palaver infra up",
)

FirstPort = Annotated[
    int | None,
    typer.Option(min=0, max=65_500, metavar="N", help="First of the ports of native engines; kept."),
]


class Way(StrEnum):
    """How engines run."""

    AUTO = "auto"
    NATIVE = "native"
    DOCKER = "docker"


Engines = Annotated[Way | None, typer.Option(help="How they run; decided at the first start.")]


@infra.command("up")
def up(
    data_dir: DataDir = None,
    engines: Engines = None,
    first_port: FirstPort = None,
    config: Config = None,
) -> None:
    """Start the engines that do not run, and wait until each answers.

    In containers where a Docker engine answers; else as processes on loopback, from Debian's packages, which
    apt installs where they are missing. Passwords are made at the first start. A second start keeps all data.

    Example:

        palaver infra up --data-dir /var/lib/palaver
    """
    from palaver.infra.commands import start_engines

    settings = settings_of(config, data_dir, exists=False)
    if engines is not None:
        settings.infra.engines = engines.value
    if first_port is not None:
        settings.infra.first_port = first_port
    file = start_engines(settings, print)
    print(f"Settings of the services: {file}")


@infra.command("status")
def status(data_dir: DataDir = None, as_json: AsJson = False, config: Config = None) -> None:
    """Show what runs: process, port, version, size of the data. Ends with 1 where an engine does not answer.

    Example:

        palaver infra status --data-dir /var/lib/palaver
    """
    from palaver.infra.commands import engine_statuses

    found = engine_statuses(settings_of(config, data_dir))
    if as_json:
        print(json.dumps([asdict(one) for one in found]))
    else:
        for one in found:
            print(one.line())
    raise typer.Exit(0 if all(one.answers for one in found) else 1)


@infra.command("down")
def down(data_dir: DataDir = None, config: Config = None) -> None:
    """Stop the services and the engines, and wait for their end. All data stays.

    Example:

        palaver infra down --data-dir /var/lib/palaver
    """
    from palaver.infra.commands import stop_engines

    stop_engines(settings_of(config, data_dir), print)


@infra.command("run", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def run(
    context: typer.Context,
    words: Annotated[list[str], typer.Argument(metavar="COMMAND", help="A command of `palaver`.")],
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Run a command with the settings of the services: `migrate`, `service`, and others that take --config.

    In containers where the engines are.

    Example:

        palaver infra run migrate
    """
    from palaver.infra.commands import run_command

    run_command(settings_of(config, data_dir), [*words, *context.args])
