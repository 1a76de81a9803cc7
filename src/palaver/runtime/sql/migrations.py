"""Schema versions: numbered Alembic scripts of a service, `migrations/0001_….py` and on.

A database whose version is newer than the code is refused: an older program would write what a newer
schema forbids, or lose what only it knows.
"""

import re
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from palaver.runtime.startup import StartError


class SchemaTooNewError(StartError):
    """The database was migrated by a newer Palaver. The text names its version."""


def newest_version(scripts: Path) -> str:
    """The number of the last script, e.g. `0003`."""
    numbers = sorted(m[1] for f in scripts.glob("*.py") if (m := re.match(r"(\d{4})_", f.name)))
    return numbers[-1]


def migrate(connection: Connection, scripts: Path) -> bool:
    """Brings the schema to the newest version, in the connection's transaction. False: it was there already.

    Raises `SchemaTooNewError`.
    """
    newest = newest_version(scripts)
    version = None
    if inspect(connection).has_table("alembic_version"):
        version = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if version == newest:
        return False
    if version is not None and version > newest:
        raise SchemaTooNewError(
            f"the database has schema {version}, this program knows {newest}: run a newer Palaver"
        )
    run_scripts(connection, scripts)
    return True


def run_scripts(connection: Connection, scripts: Path) -> None:
    """Runs the missing scripts."""
    # Imported late: Alembic takes a tenth of a second that a start without migrations need not pay
    from alembic.migration import MigrationContext
    from alembic.operations import Operations
    from alembic.script import ScriptDirectory

    directory = ScriptDirectory(str(scripts), version_locations=[str(scripts)])
    context = MigrationContext.configure(
        connection, opts={"fn": lambda rev, _: directory._upgrade_revs("head", rev)}
    )
    with Operations.context(context):
        context.run_migrations()
