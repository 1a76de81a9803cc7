"""The key with which messengers sign when a socket was opened."""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

KEY_BYTES = 32


def upgrade() -> None:
    """Makes the key."""
    proof_key = op.create_table(
        "proof_key",
        sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("key", sa.LargeBinary(KEY_BYTES), nullable=False),
    )
    op.bulk_insert(proof_key, [{"id": 1, "key": secrets.token_bytes(KEY_BYTES)}])
