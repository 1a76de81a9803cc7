"""Refresh tokens: how one follows another, and what is stored of them."""

import base64
import hashlib
import hmac
import secrets

TOKEN_BYTES = 32


def new_refresh_token() -> str:
    """The first one of a session."""
    return encode(secrets.token_bytes(TOKEN_BYTES))


def new_salt() -> bytes:
    """What makes the next token one that the holder of the last cannot know."""
    return secrets.token_bytes(TOKEN_BYTES)


def successor_of(token: str, salt: bytes) -> str:
    """The token that follows another. Only both together give it, and only the salt is stored."""
    return encode(hmac.digest(salt, bytes_of(token), hashlib.sha256))


def hash_of(token: str) -> bytes:
    """What is stored of a refresh token."""
    return hashlib.sha256(bytes_of(token)).digest()


def bytes_of(token: str) -> bytes:
    """A token as it came, also where it is no valid Unicode."""
    return token.encode("utf-8", "surrogatepass")


def encode(token: bytes) -> str:
    """Its form in JSON: base64url without padding."""
    return base64.urlsafe_b64encode(token).decode().rstrip("=")
