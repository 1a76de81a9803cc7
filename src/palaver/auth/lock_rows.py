"""Locks of transactions that must come one after the other, whichever replica runs them.

On SQLite they do anyway: it lets one transaction write at a time.
"""

from sqlalchemy import Connection, select

from palaver.auth.schema import locks, users

REVOCATIONS = "revocations"
SIGNING_KEYS = "signing keys"


def lock(connection: Connection, name: str) -> None:
    """Waits until no other transaction has the lock. It is free again after the commit is visible."""
    connection.execute(select(locks.c.name).where(locks.c.name == name).with_for_update()).one()


def lock_user(connection: Connection, user_id: bytes) -> None:
    """Waits until no other transaction changes the user's sessions or devices."""
    connection.execute(select(users.c.id).where(users.c.id == user_id).with_for_update()).first()
