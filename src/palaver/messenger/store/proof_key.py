"""The key of opening proofs, which all messengers on one database share, and nobody else has."""

from sqlalchemy import Connection, select

from palaver.messenger.store.schema import proof_key

_key = select(proof_key.c.key)


def read_proof_key(connection: Connection) -> bytes:
    """The key, which was made with its table."""
    key: bytes = connection.execute(_key).scalar_one()
    return key
