"""Access tokens: JWTs signed with Ed25519 by auth alone (RFC 7519, RFC 8037), verified by its JWKS.

The algorithm is fixed: the one in a token's header is not read.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from palaver.contracts.errors import UNAUTHENTICATED, UNAVAILABLE, PalaverError

ALGORITHM = "EdDSA"
ISSUER = "palaver"
LEEWAY_SECONDS = 2
# A forged key id must not make every bad token a call to auth: look for new keys this often at most.
KEYS_SECONDS = 1.0
CACHED_TOKENS = 20_000

Keys = dict[str, Ed25519PublicKey]


@dataclass(frozen=True, slots=True)
class Claims:
    """The user and the session of a token. Times in seconds since the epoch."""

    user_id: bytes
    session_id: bytes
    issued_at: int
    expires_at: int


def sign_token(claims: Claims, key: Ed25519PrivateKey, key_id: str) -> str:
    """The compact form of a token."""
    body = {
        "iss": ISSUER,
        "sub": str(UUID(bytes=claims.user_id)),
        "sid": str(UUID(bytes=claims.session_id)),
        "iat": claims.issued_at,
        "exp": claims.expires_at,
    }
    return jwt.encode(body, key, algorithm=ALGORITHM, headers={"kid": key_id})


class TokenVerifier:
    """Verifies tokens, remembering those that it has seen, until they expire.

    `fetch_keys` gets auth's JWKS document; it is called when a token names a key that is not known yet, once
    in `keys_seconds` at most.
    """

    def __init__(
        self,
        fetch_keys: Callable[[], Awaitable[dict[str, Any]]],
        clock: Callable[[], float] = time.time,
        keys_seconds: float = KEYS_SECONDS,
    ) -> None:
        self._fetch_keys = fetch_keys
        self._keys_seconds = keys_seconds
        self._clock = clock
        self._keys: Keys = {}
        self._fetched_at = 0.0
        self._fetching = asyncio.Lock()
        self._away = False
        self._seen: OrderedDict[str, Claims] = OrderedDict()

    def verify_known(self, token: str) -> Claims | None:
        """The claims of a token that was verified before and is still good, or None."""
        claims = self._seen.get(token)
        if claims is None or claims.expires_at + LEEWAY_SECONDS < self._clock():
            return None
        return claims

    async def verify(self, token: str, good_at: float | None = None) -> Claims:
        """The claims of `token`, which must be good now, or, where given, at `good_at` (epoch seconds).

        Raises `unauthenticated`, and `unavailable` where auth is away and the key is not known.
        """
        if good_at is None and (claims := self.verify_known(token)) is not None:
            return claims
        key = await self._key_of(token)
        claims = read_token(token, key, self._clock() if good_at is None else good_at)
        self._seen[token] = claims
        if len(self._seen) > CACHED_TOKENS:
            self._seen.popitem(last=False)
        return claims

    async def _key_of(self, token: str) -> Ed25519PublicKey:
        key_id = key_id_of(token)
        if key_id not in self._keys:
            # One call for all: without the lock the first would fetch the keys, and the others be refused
            async with self._fetching:
                if key_id not in self._keys:
                    await self._look_for_keys()
        key = self._keys.get(key_id)
        if key is not None:
            return key
        if self._away:
            # It cannot be known whether the token is good; 401 would make its holder throw a good one away
            raise PalaverError(UNAVAILABLE, "tokens cannot be verified now", retry_after=self._keys_seconds)
        raise PalaverError(UNAUTHENTICATED, "the access token is not valid", reason="unknown key")

    async def _look_for_keys(self) -> None:
        now = self._clock()
        if 0 <= now - self._fetched_at < self._keys_seconds:
            return
        self._fetched_at = now
        self._away = True
        self._keys = keys_from_jwks(await self._fetch_keys())
        self._away = False


def key_id_of(token: str) -> str:
    """The key that the token's header names. Raises `unauthenticated`."""
    try:
        return str(jwt.get_unverified_header(token).get("kid", ""))
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise PalaverError(UNAUTHENTICATED, "the access token is not valid", reason="no header") from None


def read_token(token: str, key: Ed25519PublicKey, now: float) -> Claims:
    """The claims of a token whose signature is good and which has not expired at `now`.

    Raises `unauthenticated`.
    """
    try:
        body = jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            issuer=ISSUER,
            options={"require": ["exp", "iat", "sub", "sid"], "verify_exp": False, "verify_iat": False},
        )
        claims = Claims(
            UUID(body["sub"]).bytes,
            UUID(body["sid"]).bytes,
            int(body["iat"]),
            int(body["exp"]),
        )
    except (jwt.PyJWTError, ValueError, TypeError, AttributeError) as error:
        raise PalaverError(UNAUTHENTICATED, "the access token is not valid", reason=repr(error)) from None
    if claims.expires_at + LEEWAY_SECONDS < now:
        raise PalaverError(UNAUTHENTICATED, "the access token has expired")
    return claims


def keys_from_jwks(document: dict[str, Any]) -> Keys:
    """The Ed25519 keys of a JWKS document (RFC 7517) by key id."""
    found: Keys = {}
    for entry in document.get("keys", []):
        key = jwt.PyJWK(entry, ALGORITHM).key
        if isinstance(key, Ed25519PublicKey):
            found[str(entry["kid"])] = key
    return found
