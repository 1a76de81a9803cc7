"""The passwords of the engines, made at the first start."""

import hashlib
import secrets
from pathlib import Path

import msgspec

from palaver.infra import topology
from palaver.infra.files import read_file, write_file
from palaver.runtime.startup import StartError

FILE = "passwords.json"
MADE_BYTES = 24


class Credentials(msgspec.Struct, frozen=True):
    """A password for each account. MySQL's are by schema; its root's is for Docker. No text shows one."""

    mysql: dict[str, str]
    mysql_root: str
    clickhouse: str
    redis: str

    def __repr__(self) -> str:
        return "Credentials(***)"

    @property
    def clickhouse_sha256(self) -> str:
        """ClickHouse's password as its list of users has it."""
        return hashlib.sha256(self.clickhouse.encode()).hexdigest()


def credentials_in(directory: Path) -> Credentials:
    """The passwords of a directory; made where it has none. Raises `StartError`."""
    path = directory / FILE
    if not path.exists():
        # A word of A-Z a-z 0-9 _ -: needs no quotes in URLs, SQL and configuration
        made = Credentials(
            mysql={schema: secrets.token_urlsafe(MADE_BYTES) for schema in topology.SCHEMAS},
            mysql_root=secrets.token_urlsafe(MADE_BYTES),
            clickhouse=secrets.token_urlsafe(MADE_BYTES),
            redis=secrets.token_urlsafe(MADE_BYTES),
        )
        write_file(path, msgspec.json.encode(made).decode() + "\n")
    try:
        return msgspec.json.decode(read_file(path), type=Credentials)
    except msgspec.DecodeError:
        raise StartError(f"{path} holds no passwords: restore it from a backup") from None
