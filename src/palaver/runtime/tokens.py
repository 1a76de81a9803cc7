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
from palaver.runtime.telemetry.configuration import log
from palaver.runtime.telemetry.error_texts import error_text

ALGORITHM = "EdDSA"
ISSUER = "palaver"
LEEWAY_SECONDS = 2
# Clocks of two machines differ by less; a token of a later time was not signed by auth
FUTURE_SECONDS = 30
# A forged key id must not make every bad token a call to auth: look for new keys this often at most.
KEYS_SECONDS = 1.0
# A revoked key is good for no longer than this, and what auth itself needs to notice
FOLLOW_SECONDS = 1.0
# How long an auth that has never answered is not worth a warning
START_SECONDS = 30.0
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
    """Verifies tokens, remembering those that it has seen, until they expire or their key goes.

    `fetch_keys` gets auth's JWKS document. It is called by `follow_keys`, and when a token names a key that
    is not known yet, for that once in `keys_seconds` at most. `token_seconds`: how long a token lives, where
    the document does not say it. `key_revoked` is called with the id of each key that auth has revoked, once.
    """

    def __init__(
        self,
        fetch_keys: Callable[[], Awaitable[dict[str, Any]]],
        token_seconds: int,
        clock: Callable[[], float] = time.time,
        keys_seconds: float = KEYS_SECONDS,
        *,
        ticks: Callable[[], float] = time.monotonic,
        key_revoked: Callable[[str], None] | None = None,
    ) -> None:
        """`clock`: seconds since the epoch, as tokens have them. `ticks`: of a clock that does not jump."""
        self._fetch_keys = fetch_keys
        self._token_seconds = token_seconds
        self._keys_seconds = keys_seconds
        self._clock = clock
        self._ticks = ticks
        self._key_revoked = key_revoked
        self._document: dict[str, Any] | None = None
        self._keys: Keys = {}
        self._revoked: frozenset[str] = frozenset()
        self._looked_at = self._fetched_at = float("-inf")
        self._fetching = asyncio.Lock()
        self._away = False
        self._is_noted = False
        self._quiet_until = ticks() + START_SECONDS
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
        claims = read_token(token, key, self._clock() if good_at is None else good_at, self._token_seconds)
        self._seen[token] = claims
        if len(self._seen) > CACHED_TOKENS:
            self._seen.popitem(last=False)
        return claims

    def is_revoked(self, token: str) -> bool:
        """Whether auth has revoked the key of a token that was good."""
        return bool(self._revoked) and key_id_of(token) in self._revoked

    async def follow_keys(self) -> None:
        """Fetches the keys once in `FOLLOW_SECONDS`, until cancelled: one that was revoked goes at once."""
        while True:
            await asyncio.sleep(FOLLOW_SECONDS)
            await self.refresh_keys()

    async def refresh_keys(self) -> None:
        """Fetches the keys. Where that fails those that are known stay, but not for ever."""
        async with self._fetching:
            try:
                await self._fetch()
                self._is_noted = False
            except Exception as error:
                self._note_failure(error)
        # Longer than any honest token lives that was issued before auth went away; what was revoked
        # meanwhile is not known here
        if self._ticks() - self._fetched_at > self._token_seconds + LEEWAY_SECONDS:
            self._document, self._keys = None, {}
            self._seen.clear()

    def _note_failure(self, error: Exception) -> None:
        """Logs that the keys could not be fetched: once, and not while auth may just be coming up."""
        is_starting = self._document is None and self._ticks() < self._quiet_until
        if not self._is_noted and not is_starting:
            self._is_noted = True
            log.warning("keys_not_refreshed", cause=error_text(error), debug=getattr(error, "debug", {}))

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
        now = self._ticks()
        if now - self._looked_at >= self._keys_seconds:
            self._looked_at = now
            await self._fetch()

    async def _fetch(self) -> None:
        began = self._ticks()
        self._away = True
        self._take(await self._fetch_keys())
        self._away = False
        self._fetched_at = began

    def _take(self, document: dict[str, Any]) -> None:
        if document == self._document:
            return
        keys = keys_from_jwks(document)
        revoked = frozenset(map(str, document.get("revoked", ())))
        if any(keys.get(key_id) != key for key_id, key in self._keys.items()):
            # Tokens of a key that has gone are among them
            self._seen.clear()
        self._document, self._keys = document, keys
        self._token_seconds = int(document.get("access_token_seconds", self._token_seconds))
        newly_revoked, self._revoked = revoked - self._revoked, revoked
        if self._key_revoked is not None:
            for key_id in newly_revoked:
                self._key_revoked(key_id)


def key_id_of(token: str) -> str:
    """The key that the token's header names. Raises `unauthenticated`."""
    try:
        return str(jwt.get_unverified_header(token).get("kid", ""))
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise PalaverError(UNAUTHENTICATED, "the access token is not valid", reason="no header") from None


def read_token(token: str, key: Ed25519PublicKey, now: float, token_seconds: int) -> Claims:
    """The claims of a token whose signature is good and which has not expired at `now`.

    Auth issues tokens for `token_seconds` at most: a longer one is forged, with a key that leaked. Raises
    `unauthenticated`.
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
            whole_seconds(body["iat"]),
            whole_seconds(body["exp"]),
        )
    except (jwt.PyJWTError, ValueError, TypeError, AttributeError) as error:
        raise PalaverError(
            UNAUTHENTICATED, "the access token is not valid", reason=error_text(error)
        ) from None
    if claims.expires_at + LEEWAY_SECONDS < now:
        raise PalaverError(UNAUTHENTICATED, "the access token has expired")
    if claims.issued_at > now + FUTURE_SECONDS:
        raise PalaverError(UNAUTHENTICATED, "the access token is not valid", reason="issued in the future")
    if claims.expires_at - claims.issued_at > token_seconds + LEEWAY_SECONDS:
        raise PalaverError(UNAUTHENTICATED, "the access token is not valid", reason="lives for too long")
    return claims


def whole_seconds(value: Any) -> int:
    """A time as auth writes it. Raises `ValueError`."""
    if type(value) is not int:
        raise ValueError("not a whole number of seconds")
    return value


def keys_from_jwks(document: dict[str, Any]) -> Keys:
    """The Ed25519 keys of a JWKS document (RFC 7517) by key id."""
    found: Keys = {}
    for entry in document.get("keys", []):
        key = jwt.PyJWK(entry, ALGORITHM).key
        if isinstance(key, Ed25519PublicKey):
            found[str(entry["kid"])] = key
    return found
