"""Rows that transactions lock where they must come one after the other.

All of it is new: a program that knows the second schema alone goes on working.
"""

import sqlalchemy as sa

from palaver.runtime.sql.schema_changes import create_table, insert_rows

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Makes the table and its rows."""
    create_table("locks", sa.Column("name", sa.String(32), primary_key=True))
    locks = sa.table("locks", sa.column("name", sa.String))
    insert_rows(locks, [{"name": "revocations"}, {"name": "signing keys"}])
