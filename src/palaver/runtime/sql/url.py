"""Where a service's database is, by its setting: a file of SQLite's, or a schema of a MySQL server."""

from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from palaver.runtime.startup import StartError

SQLITE = "sqlite:///"
MYSQL = "mysql://"
MYSQL_PORT = 3306
FORMS = f"{SQLITE}PATH and {MYSQL}USER:PASSWORD@HOST:PORT/SCHEMA"


@dataclass(frozen=True, slots=True)
class MysqlAddress:
    """A schema of a server that speaks MySQL's protocol, and who uses it. Its text, for logs and errors, is
    without the password."""

    host: str
    port: int
    user: str
    schema: str
    password: str = field(default="", repr=False)

    @property
    def url(self) -> URL:
        """SQLAlchemy's."""
        name = "mysql+asyncmy"
        return URL.create(name, self.user, self.password, self.host, self.port, self.schema)

    def __str__(self) -> str:
        return f"{MYSQL}{self.user}@{self.host}:{self.port}/{self.schema}"


def database_at(url: str, default: Path, setting: str) -> Path | MysqlAddress:
    """The file of a `sqlite:///PATH`, the address of a `mysql://USER:PASSWORD@HOST:PORT/SCHEMA`, whose
    reserved characters are percent-encoded (RFC 3986); `default` where `url` is empty.

    Raises `StartError`, which names `setting` and never the URL: it may hold a password.
    """
    if not url:
        return default
    if url.startswith(MYSQL):
        return mysql_address(url, setting)
    path = url.removeprefix(SQLITE)
    if path == url or not path:
        raise StartError(f"setting {setting}: only {FORMS} are known")
    return Path(path)


def database_file(url: str, default: Path, setting: str) -> Path:
    """The same where only a file will do. Raises `StartError`."""
    found = database_at(url, default, setting)
    if not isinstance(found, Path):
        raise StartError(f"setting {setting}: only {SQLITE}PATH will do here")
    return found


def mysql_address(url: str, setting: str) -> MysqlAddress:
    """What a URL of MySQL's says. Raises `StartError`, which names what is missing or too much."""
    try:
        found = make_url(url)
        port = MYSQL_PORT if found.port is None else found.port
    except (ArgumentError, ValueError):
        raise StartError(f"setting {setting}: is not of the form {FORMS}") from None
    if not (found.username and found.host and found.database):
        missing = [
            name
            for name, part in (("user", found.username), ("host", found.host), ("schema", found.database))
            if not part
        ]
        raise StartError(f"setting {setting}: the URL has no {' and no '.join(missing)}")
    if not 0 < port < 65_536:
        raise StartError(f"setting {setting}: the URL's port must be 1 to 65535")
    if found.query:
        raise StartError(f"setting {setting}: the URL must end with its schema, without ?options")
    # MySQL's handshake knows Latin-1 alone
    password = str(found.password or "")
    if not password.isascii():
        raise StartError(f"setting {setting}: the URL's password must be of ASCII characters")
    return MysqlAddress(found.host, port, found.username, found.database, password)
