"""Devices that accounts were signed in from."""

import pytest
from sqlalchemy import Connection, func, select

from palaver.auth.device_rows import familiarity_of, remember_device
from palaver.auth.devices import Familiarity
from palaver.auth.domain import Client
from palaver.auth.schema import known_devices
from tests.unit.auth.test_user_rows import add

HOME = Client("2001:db8:1:2::1", "a browser")
OTHER_BROWSER = Client("2001:db8:1:2::9", "another")
AWAY = Client("192.0.2.1", "a browser")


@pytest.fixture
def owner(connection: Connection) -> bytes:
    [user] = add(connection, ("Alice", "Bee"))
    return user.id


def test_device_is_known_to_its_account_alone(connection: Connection, owner: bytes) -> None:
    """A stranger who has an account would pass for a known device of everybody."""
    [other] = add(connection, ("Bob", "Bee"))
    remember_device(connection, owner, HOME, 1)
    known = [familiarity_of(connection, owner, client) for client in (HOME, OTHER_BROWSER, AWAY)]
    assert known == [Familiarity.DEVICE, Familiarity.ADDRESS, Familiarity.NOTHING]
    assert familiarity_of(connection, other.id, HOME) is Familiarity.NOTHING
    assert familiarity_of(connection, bytes(16), HOME) is Familiarity.NOTHING


def test_addresses_and_agents_are_not_stored(connection: Connection, owner: bytes) -> None:
    """A copy of the database would show for years from where everybody has signed in."""
    remember_device(connection, owner, HOME, 1)
    stored = connection.execute(select(known_devices.c.device)).scalars().all()
    assert {len(trait) for trait in stored} == {32}


def test_known_devices_are_bounded_and_the_newest_stay(
    connection: Connection, owner: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A phone that gets a new address each hour would fill the database."""
    monkeypatch.setattr("palaver.auth.device_rows.MOST_KNOWN", 4)
    [other] = add(connection, ("Bob", "Bee"))
    remember_device(connection, other.id, HOME, 0)
    clients = [Client(f"192.0.2.{number}", "a phone") for number in range(4)]
    for seen_at, client in enumerate([*clients[:2], clients[0], *clients[2:]]):
        remember_device(connection, owner, client, seen_at)
    # Two of them: the rest of four rows; a device that came again counts from then on
    known = [familiarity_of(connection, owner, client) for client in clients]
    assert known == [Familiarity.NOTHING] * 2 + [Familiarity.DEVICE] * 2
    remember_device(connection, owner, clients[2], 9)
    remember_device(connection, owner, clients[0], 10)
    assert familiarity_of(connection, owner, clients[2]) is Familiarity.DEVICE
    assert familiarity_of(connection, owner, clients[3]) is Familiarity.NOTHING
    assert familiarity_of(connection, other.id, HOME) is Familiarity.DEVICE
    assert connection.execute(select(func.count()).select_from(known_devices)).scalar() == 6
