"""The Ed25519 keys that sign access tokens: one signs, retired ones verify until their last token expires.

Revoked ones do neither.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm
from sqlalchemy import Connection, insert, or_, select, update

from palaver.auth.lock_rows import SIGNING_KEYS, lock
from palaver.auth.schema import signing_keys
from palaver.contracts.errors import UNAVAILABLE, PalaverError
from palaver.contracts.ids import new_id
from palaver.contracts.times import now_us
from palaver.runtime.sql.database import Database
from palaver.runtime.tokens import ALGORITHM

# Another process may rotate the keys: look this often, in seconds
RELOAD_SECONDS = 0.5
# Readers are told of so many revoked keys, the newest
MOST_REVOKED = 1_000
# Clocks differ, and a replica may sign with a retired key until it looks again
MARGIN_SECONDS = 60


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key, its public half as a JWK, and when it was retired, in microseconds since the epoch; 0 while it
    signs."""

    kid: str
    private: Ed25519PrivateKey
    public: Mapping[str, Any]
    retired_at: int


class Keys:
    """The keys in the database, read again where they may have changed."""

    def __init__(self, database: Database, access_token_seconds: int, clock: Callable[[], float]) -> None:
        self._database = database
        self._access_token_seconds = access_token_seconds
        self._kept_us = (access_token_seconds + MARGIN_SECONDS) * 1_000_000
        self._clock = clock
        self._keys: list[SigningKey] = []
        self._revoked: list[str] = []
        self._read_at = float("-inf")

    async def load(self) -> None:
        """Reads the keys now. All else reads them where they are older than `RELOAD_SECONDS`."""
        self._read_at = self._clock()
        known = {key.kid: key for key in self._keys}
        self._keys, self._revoked = await self._database.read_short(
            read_keys, now_us() - self._kept_us, known
        )

    async def signing(self) -> SigningKey:
        """The key that signs. Raises `unavailable` where there is none."""
        await self._reload()
        if not self.is_signing():
            raise PalaverError(UNAVAILABLE, "there is no key to sign with")
        return self._keys[0]

    def is_signing(self) -> bool:
        """Whether one of the keys that were read last signs."""
        return bool(self._keys) and not self._keys[0].retired_at

    async def jwks(self) -> dict[str, Any]:
        """The public keys of tokens that may be alive, as a JWKS document (RFC 7517 §5, RFC 8037 §2).

        Members of ours: the ids of revoked keys, whose sockets end, and how long a token lives.
        """
        await self._reload()
        return {
            "keys": [key.public for key in self._keys],
            "revoked": self._revoked,
            "access_token_seconds": self._access_token_seconds,
        }

    async def _reload(self) -> None:
        if self._clock() - self._read_at >= RELOAD_SECONDS:
            await self.load()


def read_key(kid: str, pem: str) -> SigningKey:
    """The key of its stored form, as if it signed."""
    private = private_of_pem(pem)
    public = OKPAlgorithm.to_jwk(private.public_key(), as_dict=True)
    return SigningKey(kid, private, {**public, "kid": kid, "use": "sig", "alg": ALGORITHM}, 0)


def read_keys(
    connection: Connection, retired_after: int, known: Mapping[str, SigningKey]
) -> tuple[list[SigningKey], list[str]]:
    """The key that signs, those that were retired after a time, newest first; and ids of revoked ones.

    `known`: keys that need not be made of their stored form again, by id.
    """
    retired, revoked = signing_keys.c.retired_at, signing_keys.c.revoked_at
    newest_first = (retired.is_not(None), signing_keys.c.created_at.desc())
    alive = select(signing_keys).where(revoked.is_(None), or_(retired.is_(None), retired > retired_after))
    keys = [
        replace(known.get(row.kid) or read_key(row.kid, row.private_pem), retired_at=row.retired_at or 0)
        for row in connection.execute(alive.order_by(*newest_first))
    ]
    gone = select(signing_keys.c.kid).where(revoked.is_not(None)).order_by(revoked.desc())
    return keys, list(connection.execute(gone.limit(MOST_REVOKED)).scalars())


def ensure_key(connection: Connection, now: int) -> None:
    """Makes the first key, also where several replicas start at once."""
    lock(connection, SIGNING_KEYS)
    signs = select(signing_keys.c.kid).where(signing_keys.c.retired_at.is_(None))
    if connection.execute(signs).first() is None:
        rotate(connection, now)


def rotate(connection: Connection, now: int, revoke: bool = False) -> str:
    """Makes a key that signs from now on and retires the one before. Returns its id.

    `revoke`: no earlier key is good any more. All of them lay in the database that a leak comes from.
    """
    lock(connection, SIGNING_KEYS)
    connection.execute(update(signing_keys).where(signing_keys.c.retired_at.is_(None)).values(retired_at=now))
    if revoke:
        earlier = update(signing_keys).where(signing_keys.c.revoked_at.is_(None))
        connection.execute(earlier.values(revoked_at=now))
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    kid = new_id().hex()
    connection.execute(
        insert(signing_keys), {"kid": kid, "private_pem": pem.decode(), "created_at": now, "retired_at": None}
    )
    return kid


def private_of_pem(pem: str) -> Ed25519PrivateKey:
    """The key of its stored form."""
    private = serialization.load_pem_private_key(pem.encode(), None)
    assert isinstance(private, Ed25519PrivateKey)
    return private
