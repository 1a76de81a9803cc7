"""The key of opening proofs, which all messengers on one database share, and nobody else has."""

import secrets

from sqlalchemy import Connection, insert, select

from palaver.messenger.store.schema import proof_key

KEY_BYTES = 32

_key = select(proof_key.c.key)


def read_proof_key(connection: Connection) -> bytes | None:
    """The key; None where it was not made yet."""
    return connection.execute(_key).scalar_one_or_none()


def make_proof_key(connection: Connection) -> bytes:
    """The key, made where there is none."""
    key = read_proof_key(connection)
    if key is None:
        key = secrets.token_bytes(KEY_BYTES)
        connection.execute(insert(proof_key), {"id": 1, "key": key})
    return key
