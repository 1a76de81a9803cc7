"""Leases: what one process at a time may do, by the database's clock.

The token fences: whoever was paused, and lost the lease meanwhile, finds another token in its own
transaction, and writes nothing.
"""

from typing import NamedTuple

from sqlalchemy import Connection, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from palaver.messenger.store.schema import leases
from palaver.runtime.sql.clock import database_now

ARCHIVER = "archiver"


class LeaseLostError(Exception):
    """Somebody else holds the lease now."""


class Lease(NamedTuple):
    """A lease that is held. The tokens of a name's leases grow."""

    name: str
    holder: bytes
    token: int


# Locked where rows can be: the transaction's end comes before anybody else's take
_locked = (
    select(leases.c.holder, leases.c.token, leases.c.expires_at, database_now().label("now"))
    .where(leases.c.name == bindparam("of"))
    .with_for_update()
)
_set = update(leases).where(leases.c.name == bindparam("of"))


def take_lease(connection: Connection, name: str, holder: bytes, seconds: float) -> Lease | None:
    """The lease, if nobody else holds it; it ends after so many seconds unless it is renewed."""
    row = connection.execute(_locked, {"of": name}).first()
    ends = {"holder": holder, "expires_at": database_now() + int(seconds * 1_000_000)}
    if row is None:
        try:
            with connection.begin_nested():
                connection.execute(insert(leases).values(name=name, token=1, **ends))
        except IntegrityError:
            # Another process was quicker
            return None
        return Lease(name, holder, 1)
    if row.expires_at > row.now and row.holder != holder:
        return None
    connection.execute(_set.values(token=row.token + 1, **ends), {"of": name})
    return Lease(name, holder, row.token + 1)


def renew_lease(connection: Connection, lease: Lease, seconds: float) -> None:
    """Moves the lease's end to so many seconds from now. Raises `LeaseLostError`."""
    check_lease(connection, lease)
    ends = database_now() + int(seconds * 1_000_000)
    connection.execute(_set.values(expires_at=ends), {"of": lease.name})


def end_lease(connection: Connection, lease: Lease) -> None:
    """Lets the next one take the lease at once. Raises `LeaseLostError`."""
    check_lease(connection, lease)
    connection.execute(_set.values(expires_at=0), {"of": lease.name})


def check_lease(connection: Connection, lease: Lease) -> None:
    """Raises `LeaseLostError` where somebody has taken the lease. Until the transaction ends, nobody can."""
    row = connection.execute(_locked, {"of": lease.name}).first()
    if row is None or (row.holder, row.token) != (lease.holder, lease.token):
        raise LeaseLostError
