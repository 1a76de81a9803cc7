"""Leases: one holder at a time, and nothing from those who lost it."""

import pytest
from sqlalchemy import Connection, update

from palaver.contracts.ids import new_id
from palaver.messenger.store.leases import LeaseLostError, check_lease, end_lease, renew_lease, take_lease
from palaver.messenger.store.schema import leases

ONE, OTHER = new_id(), new_id()


def expire(connection: Connection) -> None:
    """As if the time of all leases were over."""
    connection.execute(update(leases).values(expires_at=1))


def test_one_holds_a_lease_until_it_ends(connection: Connection) -> None:
    """Two archivers would write segments over each other's."""
    lease = take_lease(connection, "archiver", ONE, 60)
    assert lease is not None
    assert take_lease(connection, "archiver", OTHER, 60) is None
    check_lease(connection, lease)
    end_lease(connection, lease)
    taken = take_lease(connection, "archiver", OTHER, 60)
    assert taken is not None
    assert taken.token > lease.token


def test_who_was_paused_for_too_long_writes_nothing(connection: Connection) -> None:
    """An archiver that wakes up would record blocks that its successor has moved elsewhere."""
    lease = take_lease(connection, "archiver", ONE, 60)
    assert lease is not None
    expire(connection)
    # Nobody has taken it: it is still the holder's
    renew_lease(connection, lease, 60)
    assert take_lease(connection, "archiver", OTHER, 60) is None
    expire(connection)
    assert take_lease(connection, "archiver", OTHER, 60) is not None
    for refused in (check_lease, end_lease):
        with pytest.raises(LeaseLostError):
            refused(connection, lease)
    with pytest.raises(LeaseLostError):
        renew_lease(connection, lease, 60)


def test_a_holder_that_begins_again_gets_a_new_token(connection: Connection) -> None:
    """What it had begun before could not be told from what it does now."""
    first, second = (take_lease(connection, "archiver", ONE, 60) for _ in range(2))
    assert first is not None
    assert second is not None
    assert second.token > first.token
    with pytest.raises(LeaseLostError):
        check_lease(connection, first)


def test_leases_of_other_names_are_others(connection: Connection) -> None:
    """One job would keep all others from running."""
    assert take_lease(connection, "archiver", ONE, 60) is not None
    assert take_lease(connection, "another", OTHER, 60) is not None
