"""Who commits under which number of the commit log, where several messengers do.

All of it is new: a program that knows the third schema alone goes on working.
"""

import sqlalchemy as sa

from palaver.runtime.sql.schema_changes import create_table

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Makes the table. It stays empty on SQLite, which has one writer."""
    create_table(
        "writers",
        sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
