"""What a sign-in is checked against, in one look at the database."""

from dataclasses import dataclass

from sqlalchemy import Connection

from palaver.auth import user_rows
from palaver.auth.device_rows import familiarity_of
from palaver.auth.devices import Familiarity
from palaver.auth.domain import Client

NOBODY = bytes(16)


@dataclass(frozen=True, slots=True)
class Credentials:
    """An account that exists. `familiarity`: what it knows of the device that signs in."""

    user_id: bytes
    password_hash: str
    familiarity: Familiarity


def read_password(connection: Connection, email: str, client: Client) -> Credentials | None:
    """None where no account has the email. It takes as long: time does not show who has an account."""
    known = user_rows.read_password(connection, email)
    familiarity = familiarity_of(connection, known[0] if known else NOBODY, client)
    return Credentials(*known, familiarity) if known else None
