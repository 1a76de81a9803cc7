"""Which of SQLite's errors pass, and what callers are told of them."""

import sqlite3

from sqlalchemy.exc import DBAPIError

from palaver.contracts.errors import UNAVAILABLE, PalaverError

# The disk is full or fails, or somebody else has the file. A database that is damaged does not mend itself,
# but may be restored below us; whatever it is, it is not the request's fault, and a later one may succeed
_PASSING = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    }
)
RETRY_SECONDS = 1.0


class DatabaseUnavailableError(PalaverError):
    """The database cannot be used now. Nothing of the transaction is known to be on disk."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(
            UNAVAILABLE, retry_after=RETRY_SECONDS, database=sqlite_name(error) or type(error).__name__
        )


def sqlite_error(error: BaseException) -> sqlite3.Error | None:
    """The driver's error, where it is one of the file's or of the disk's; a mistake in a statement is not."""
    found = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(found, sqlite3.Error) and getattr(found, "sqlite_errorcode", 0) & 0xFF in _PASSING:
        return found
    return None


def sqlite_name(error: BaseException) -> str:
    """SQLite's name of such an error without its extension, e.g. `SQLITE_FULL`; empty for any other."""
    found = sqlite_error(error)
    return "" if found is None else "_".join(found.sqlite_errorname.split("_")[:2])


def sqlite_reason(error: BaseException) -> str:
    """SQLite's own words."""
    return str(sqlite_error(error) or error)
