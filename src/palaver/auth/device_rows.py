"""Statements about known devices: plain functions that run in a transaction of `runtime.sql`."""

from sqlalchemy import Connection, delete, insert, select

from palaver.auth.devices import Familiarity, traits_of
from palaver.auth.domain import Client
from palaver.auth.schema import known_devices

# Traits of a user that are kept, two a device: the newest
MOST_KNOWN = 200


def familiarity_of(connection: Connection, user_id: bytes, client: Client) -> Familiarity:
    """What of the device the account knows. A user id that nobody has knows nothing."""
    traits = traits_of(client)
    mine = (known_devices.c.user_id == user_id, known_devices.c.device.in_(traits.values()))
    known = set(connection.execute(select(known_devices.c.device).where(*mine)).scalars())
    return next((found for found, trait in traits.items() if trait in known), Familiarity.NOTHING)


def remember_device(connection: Connection, user_id: bytes, client: Client, now: int) -> None:
    """Makes a device known that has just signed in."""
    traits = list(traits_of(client).values())
    mine = known_devices.c.user_id == user_id
    connection.execute(delete(known_devices).where(mine, known_devices.c.device.in_(traits)))
    rows = [{"user_id": user_id, "device": trait, "seen_at": now} for trait in traits]
    connection.execute(insert(known_devices), rows)
    newest_first = select(known_devices.c.device).where(mine).order_by(known_devices.c.seen_at.desc())
    # Read first: not every engine deletes from what it selects
    surplus = connection.execute(newest_first.limit(MOST_KNOWN).offset(MOST_KNOWN)).scalars().all()
    if surplus:
        connection.execute(delete(known_devices).where(mine, known_devices.c.device.in_(surplus)))
