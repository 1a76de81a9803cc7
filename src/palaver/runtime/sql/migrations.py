"""Schema versions: numbered Alembic scripts of a service, `migrations/0001_….py` and on.

A database whose version is newer than the code is refused: an older program would write what a newer
schema forbids, or lose what only it knows.
"""

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from palaver.runtime.sql.database_file import SchemaTooNewError, newest_version, too_new


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
        raise SchemaTooNewError(too_new(str(connection.engine.url.database), version, newest))
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
