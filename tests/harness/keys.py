"""The key that auth signs access tokens with."""

import time
from dataclasses import dataclass, field
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm

from palaver.contracts.ids import new_id
from palaver.runtime.tokens import Claims, TokenVerifier, sign_token

KEY_ID = "first"
TOKEN_SECONDS = 1_800


@dataclass(frozen=True)
class Keys:
    """A private key, its public half, and the tokens that it signs."""

    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @classmethod
    def from_hex(cls, text: str) -> Self:
        """The keys that `hex` gives to another process."""
        return cls(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(text)))

    @property
    def hex(self) -> str:
        """The private key in hexadecimal digits."""
        return self.key.private_bytes_raw().hex()

    @property
    def jwks(self) -> dict[str, Any]:
        """The public key as auth serves it (RFC 7517)."""
        entry = OKPAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        return {"keys": [{**entry, "kid": KEY_ID, "alg": "EdDSA"}]}

    async def fetch(self) -> dict[str, Any]:
        """What a verifier gets from auth."""
        return self.jwks

    def verifier(self) -> TokenVerifier:
        """A new verifier of the tokens."""
        return TokenVerifier(self.fetch, TOKEN_SECONDS)

    def token(self, user_id: bytes, session_id: bytes | None = None, seconds: int = 600) -> str:
        """An access token of a session, by default of a new one. It expires in `seconds`."""
        now = int(time.time())
        return sign_token(Claims(user_id, session_id or new_id(), now, now + seconds), self.key, KEY_ID)
