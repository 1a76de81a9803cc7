"""The steps of migration scripts, on a real MariaDB."""

import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations

from palaver.runtime.sql.columns import binary
from palaver.runtime.sql.schema_changes import (
    add_column,
    create_index,
    create_table,
    drop_index,
    insert_rows,
)
from tests.harness.mariadb import MariadbSchema


def change() -> None:
    """One of each."""
    create_table("things", sa.Column("id", binary(16), primary_key=True), sqlite_with_rowid=False)
    add_column("things", sa.Column("size", sa.Integer))
    create_index("things_by_size", "things", ["size"])
    create_index("things_by_all", "things", ["size", "id"])
    drop_index("things_by_size", "things")
    insert_rows(sa.table("things", sa.column("id", binary(16))), [{"id": b"1"}])


def run(schema: MariadbSchema) -> None:
    """Takes each step."""
    with schema.connection() as connection:
        with Operations.context(MigrationContext.configure(connection)):
            change()
        connection.commit()


def test_steps_may_be_run_again(mariadb_schema: MariadbSchema) -> None:
    """A migrator that was killed could not be finished by the next one."""
    with (
        mariadb_schema.connection() as connection,
        Operations.context(MigrationContext.configure(connection)),
    ):
        change()
        connection.commit()
        once = mariadb_schema.description()
        change()
        connection.commit()
    assert mariadb_schema.description() == once
    assert mariadb_schema.count("things") == 1
    assert ("things", "things_by_all", 1, "size", 1) in once
    assert "things_by_size" not in {row[1] for row in once}


def test_a_step_goes_on_where_the_last_one_ended(mariadb_schema: MariadbSchema) -> None:
    """What a killed migrator has done would be an error, or what it has not done be left out."""
    mariadb_schema.execute(
        "CREATE TABLE things (id VARBINARY(16) PRIMARY KEY) ENGINE=InnoDB ROW_FORMAT=DYNAMIC "
        "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
    )
    with (
        mariadb_schema.connection() as connection,
        Operations.context(MigrationContext.configure(connection)),
    ):
        change()
        connection.commit()
    assert mariadb_schema.count("things") == 1
