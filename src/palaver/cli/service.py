"""`palaver service`: every service on this machine, on the engines of a deployment."""

import typer

from palaver.cli.options import Config
from palaver.runtime.settings import load_settings


def service(config: Config = None) -> None:
    """Start gateways, messengers, auths and archivers on this machine, on the engines that the settings name.

    Each is a process, and is started again when it dies. Ctrl-C stops them in order. `service.gateways` and
    its like say how many run; each further one has its ports ten higher.

    Example:

        palaver service --config /var/lib/palaver/infra/palaver.toml
    """
    from palaver.deployed import run_deployed

    raise typer.Exit(run_deployed(load_settings(config)))
