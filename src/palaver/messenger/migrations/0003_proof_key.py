"""The key with which messengers sign when a socket was opened."""

import secrets

import sqlalchemy as sa

from palaver.runtime.sql.columns import binary
from palaver.runtime.sql.schema_changes import create_table, insert_rows

revision = "0003"
down_revision = "0002"

KEY_BYTES = 32


def upgrade() -> None:
    """Makes the key."""
    create_table(
        "proof_key",
        sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("key", binary(KEY_BYTES), nullable=False),
    )
    proof_key = sa.table("proof_key", sa.column("id", sa.SmallInteger), sa.column("key", binary(KEY_BYTES)))
    insert_rows(proof_key, [{"id": 1, "key": secrets.token_bytes(KEY_BYTES)}])
