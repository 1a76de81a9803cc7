"""Which of MySQL's errors pass by themselves, and what is to be done about them.

Numbers are those of MySQL and of MariaDB; 2000 and on are the driver's.
"""

import asyncio

from asyncmy.errors import InternalError, MySQLError
from sqlalchemy.exc import DBAPIError

LOCK_TIMEOUT = 1205
DEADLOCK = 1213
# The row was changed since the transaction's snapshot (MariaDB's `innodb_snapshot_isolation`)
CHANGED_SINCE = 1020

# The whole transaction can be repeated at once, on the same connection
REPEATABLE = frozenset({LOCK_TIMEOUT, DEADLOCK, CHANGED_SINCE})

# The connection is gone, or there was none to be had: repeated on a new one. Whether a transaction is on disk
# whose COMMIT was under way is unknown then
LOST = frozenset(
    {
        0,  # the driver: not connected
        1040,  # too many connections
        1053,  # the server shuts down
        1158,  # reading or writing packets failed, or took too long
        1159,
        1160,
        1161,
        1184,  # aborted
        1317,  # killed: the query
        1927,  # killed: the connection
        2002,  # the driver: cannot connect
        2003,
        2006,  # the driver: gone away
        2013,  # the driver: lost within a query
        2014,  # the driver: answers of another query
        4031,  # the server closed it, because it was idle
    }
)

# What an operator has to mend. Nothing is repeated: it would fail again
BROKEN = frozenset(
    {
        1021,  # the disk is full
        1030,  # an error of the storage engine
        1044,  # access denied: to the schema
        1045,  # access denied
        1047,  # the node is not ready
        1049,  # no such schema
        1114,  # the table is full
        1129,  # the host is blocked
        1130,  # the host is not allowed
        1142,  # access denied: to the table
        1180,  # the commit failed
        1203,  # too many connections of this user
        1226,
        1290,  # the server is read-only
        1836,
        1969,  # the statement took too long
        3024,
    }
)


def mysql_number(error: BaseException) -> int | None:
    """The number of MySQL's error; None for what is none."""
    found = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(found, MySQLError):
        number = found.args[0] if found.args else 0
        if isinstance(number, int):
            return number
        # The driver's own: packets out of order, or no connection
        return 0
    if isinstance(found, (OSError, asyncio.TimeoutError)):
        return 2003
    return None


def is_repeatable(error: BaseException) -> bool:
    """Whether the transaction may succeed when it is repeated on the same connection."""
    return mysql_number(error) in REPEATABLE


def is_lost(error: BaseException) -> bool:
    """Whether the connection cannot be used any more."""
    found = error.orig if isinstance(error, DBAPIError) else error
    number = mysql_number(error)
    return number in LOST or (isinstance(found, InternalError) and (number or 0) < 1000)


def is_broken(error: BaseException) -> bool:
    """Whether the server, its disk or the account cannot be used now, whatever is asked."""
    return mysql_number(error) in BROKEN


def mysql_name(error: BaseException) -> str:
    """The error for logs, e.g. `MYSQL_1205`."""
    return f"MYSQL_{mysql_number(error)}"
