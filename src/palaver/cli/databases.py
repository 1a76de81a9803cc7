"""`palaver migrate` and `palaver keys`: work on the databases beside or before the services."""

import typer

from palaver.cli.options import Config
from palaver.runtime.settings import load_settings
from palaver.runtime.startup import make_data_directory

keys = typer.Typer(
    no_args_is_help=True,
    help="The keys that sign access tokens.\n\nExample:\n\n    palaver keys rotate",
)


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
