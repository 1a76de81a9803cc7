"""`palaver up`: every service on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from palaver.cli.options import Config
from palaver.runtime.settings import load_settings


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
