"""Which of SQLite's errors are the file's or the disk's, and what callers get for them."""

import sqlite3

from sqlalchemy.exc import DBAPIError

from palaver.runtime.sql.database import BusyError, DatabaseUnavailableError

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


def sqlite_error(error: BaseException | None) -> sqlite3.Error | None:
    """The driver's error, where it is one of the file's or of the disk's; a mistake in a statement is not."""
    found = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(found, sqlite3.Error) and getattr(found, "sqlite_errorcode", 0) & 0xFF in _PASSING:
        return found
    return None


def sqlite_name(error: BaseException) -> str:
    """SQLite's name of such an error without its extension, e.g. `SQLITE_FULL`; empty for any other."""
    found = sqlite_error(error)
    return "" if found is None else "_".join(found.sqlite_errorname.split("_")[:2])


def raise_unavailable(error: Exception) -> None:
    """Raises `DatabaseUnavailableError` for an error of the file or the disk. Returns for any other."""
    if isinstance(error, BusyError) or sqlite_error(error) is not None:
        raise DatabaseUnavailableError(sqlite_name(error) or "SQLITE_BUSY") from error
