"""`palaver migrate` and `palaver keys`: work on the databases beside or before the services."""

from pathlib import Path
from typing import Annotated

import typer

from palaver.cli.options import Config, DataDir, settings_of
from palaver.runtime.startup import StartError, make_data_directory

keys = typer.Typer(
    no_args_is_help=True,
    help="The keys that sign access tokens.\n\nExample:\n\n    palaver keys rotate",
)


def migrate(
    data_dir: DataDir = None,
    create: Annotated[
        bool, typer.Option("--create", help="Make the directory and the databases that are missing.")
    ] = False,
    config: Config = None,
) -> None:
    """Bring the databases of auth and messenger to the newest schema.

    Services do so by themselves when they start; do it before where that takes long. A database that is
    missing is named, and made with --create alone.

    Example:

        palaver migrate --data-dir /var/lib/palaver
    """
    settings = settings_of(config, data_dir, exists=False)
    from palaver.auth import bootstrap as auth
    from palaver.auth.database import file_of as auth_file
    from palaver.messenger import bootstrap as messenger
    from palaver.messenger.database import file_of as messenger_file

    services = {"auth": auth, "messenger": messenger}
    files = {"auth": auth_file(settings), "messenger": messenger_file(settings)}
    if not create and not any(map(is_database, files.values())):
        missing = " and no ".join(str(file) for file in files.values())
        raise StartError(f"there is no database {missing} (--data-dir, or --create to make them)")
    if create:
        make_data_directory(settings.data_dir)
    for name, service in services.items():
        if not create and not is_database(files[name]):
            print(f"{name}: there is no database {files[name]}")
            continue
        changed = service.migrate_database(settings)
        print(f"{name}: {'migrated to the newest schema' if changed else 'has the newest schema'}")


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
    from palaver.auth.database import file_of

    file = file_of(settings)
    if not is_database(file):
        raise StartError(f"there is no database {file} (--data-dir)")
    key_id = rotate_keys(settings, revoke)
    if revoke:
        print("All earlier keys are revoked: their tokens are refused within seconds.")
    print(f"New access tokens are signed with key {key_id}.")


def is_database(file: Path) -> bool:
    """Whether there is a database to work on: opening another file would make one of it."""
    return file.is_file() and file.stat().st_size > 0
