"""`palaver migrate` and `palaver keys`: work on the databases beside or before the services."""

import sys
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from palaver.cli.options import Config, DataDir, settings_of
from palaver.runtime.settings import Settings
from palaver.runtime.startup import StartError, make_data_directory

if TYPE_CHECKING:
    from palaver.runtime.sql.locations import Location

keys = typer.Typer(
    no_args_is_help=True,
    help="The keys that sign access tokens.\n\nExample:\n\n    palaver keys rotate",
)


class Service(Protocol):
    """What `bootstrap` of a service does to its database."""

    def migrate_database(self, settings: Settings) -> bool:
        """See `auth.bootstrap.migrate_database`."""
        ...


def migrate(
    data_dir: DataDir = None,
    create: Annotated[
        bool, typer.Option("--create", help="Make the directory and the database files that are missing.")
    ] = False,
    config: Config = None,
) -> None:
    """Bring the databases of auth and messenger to the newest schema.

    Services do so by themselves when they start; do it before where that takes long. Exits with 1 where one
    of the two is missing, cannot be reached or cannot be migrated, after the other was. A file that is
    missing is made with --create alone. A schema of a MySQL server is made by its operator.

    Examples:

        palaver migrate --data-dir /var/lib/palaver

        palaver migrate --config /etc/palaver.toml
    """
    settings = settings_of(config, data_dir, exists=False)
    from palaver.auth import bootstrap as auth
    from palaver.auth.database import location_of as location_of_auth
    from palaver.messenger import bootstrap as messenger
    from palaver.messenger.database import location_of as location_of_messenger
    from palaver.runtime.sql.locations import exists

    databases = {"auth": location_of_auth(settings), "messenger": location_of_messenger(settings)}
    if not create and not any(map(exists, databases.values())):
        missing = " and no ".join(str(location) for location in databases.values())
        raise StartError(f"there is no database {missing} (--data-dir, or --create to make them)")
    if create:
        make_data_directory(settings.data_dir)
    services: dict[str, Service] = {"auth": auth, "messenger": messenger}
    done = [migrate_one(name, services[name], databases[name], settings, create) for name in services]
    if not all(done):
        raise SystemExit(1)


def migrate_one(name: str, service: Service, location: "Location", settings: Settings, create: bool) -> bool:
    """Migrates the database of one service, and prints what came of it. False: it could not be migrated."""
    from palaver.runtime.sql.locations import exists

    try:
        if not create and not exists(location):
            raise StartError(f"there is no database {location} (--data-dir, or --create to make it)")
        changed = service.migrate_database(settings)
    except StartError as error:
        print(f"palaver: {name}: {error}", file=sys.stderr)
        return False
    print(f"{name}: {'migrated to the newest schema' if changed else 'has the newest schema'}")
    return True


@keys.command("rotate")
def rotate(
    data_dir: DataDir = None,
    revoke: Annotated[
        bool, typer.Option("--revoke", help="Refuse tokens of all earlier keys at once: one may have leaked.")
    ] = False,
    config: Config = None,
) -> None:
    """Sign new access tokens with a new key. Tokens of the old one live on until they expire.

    With --revoke they are refused within seconds, and their sockets close. Clients refresh their sessions and
    go on: nobody has to sign in again.

    Example:

        palaver keys rotate --data-dir /var/lib/palaver
    """
    settings = settings_of(config, data_dir, exists=False)
    from palaver.auth.bootstrap import rotate_keys
    from palaver.auth.database import location_of
    from palaver.runtime.sql.locations import exists

    location = location_of(settings)
    if not exists(location):
        raise StartError(f"there is no database {location} (--data-dir)")
    key_id = rotate_keys(settings, revoke)
    if revoke:
        print("All earlier keys are revoked: their tokens are refused within seconds.")
    print(f"New access tokens are signed with key {key_id}.")
