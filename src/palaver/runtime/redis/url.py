"""Where a service's Redis is, by its setting."""

from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from palaver.runtime.startup import StartError

FORM = "redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]"
PORT = 6379


class RedisAddress(NamedTuple):
    """A Redis, and who comes to it. `is_encrypted`: by TLS."""

    host: str
    port: int
    database: int
    user: str
    password: str
    is_encrypted: bool

    def __repr__(self) -> str:
        """Without the password: tracebacks and logs show it."""
        return f"{self.host}:{self.port}/{self.database}"


def redis_address(url: str, setting: str) -> RedisAddress:
    """What a URL says.

    Raises `StartError`, which names `setting`, and not the URL: it holds a password.
    """
    try:
        parts = urlsplit(url)
        database = parts.path.removeprefix("/") or "0"
        if (
            parts.scheme not in ("redis", "rediss")
            or not parts.hostname
            or parts.query
            or parts.fragment
            or not (database.isascii() and database.isdecimal())
        ):
            raise ValueError
        return RedisAddress(
            parts.hostname,
            PORT if parts.port is None else parts.port,
            int(database),
            unquote(parts.username or ""),
            unquote(parts.password or ""),
            parts.scheme == "rediss",
        )
    except ValueError:
        raise StartError(f"setting {setting}: must be {FORM}, or rediss:// for TLS") from None
