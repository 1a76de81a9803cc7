"""When a socket was opened, as the messenger itself has said it.

A socket outlives the access token that it was opened with, and a gateway opens it again on its next stream.
It then shows what the messenger signed at the last opening: by a gateway's word alone, a stolen token would
open sockets for ever.
"""

import hashlib
import hmac

PROOF_BYTES = 16
TIME_BYTES = 8


class OpeningProofs:
    """Signs openings with a key that only messengers have; the proof holds for one token and one time.

    `most_seconds`: how long a socket may have been open. No session lives longer without a new token.
    """

    def __init__(self, key: bytes, most_seconds: float) -> None:
        self._key = key
        self._most_us = most_seconds * 1e6

    def prove(self, token: str, opened_at: int) -> bytes:
        """The proof that a socket was opened with a token at a time, in microseconds since the epoch."""
        signed = opened_at.to_bytes(TIME_BYTES, "big") + token.encode()
        return hmac.digest(self._key, signed, hashlib.sha256)[:PROOF_BYTES]

    def is_proven(self, token: str, opened_at: int, proof: bytes, now: int) -> bool:
        """Whether this messenger, or another on its database, has said so, and not too long ago."""
        if not 0 < opened_at <= now or now - opened_at > self._most_us:
            return False
        return hmac.compare_digest(self.prove(token, opened_at), proof)
