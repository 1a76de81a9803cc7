"""The database's own clock, for what several processes must agree on."""

from typing import Any

from sqlalchemy import BigInteger
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction


class database_now(GenericFunction[int]):  # noqa: N801 - SQLAlchemy names functions so
    """Microseconds since the epoch, as the database's machine has them."""

    type = BigInteger()
    inherit_cache = True


@compiles(database_now, "sqlite")
def _on_sqlite(_element: database_now, _compiler: Any, **_options: Any) -> str:
    # SQLite has no microseconds: a day's fraction in a double is exact to some tens of them
    return "CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)"


@compiles(database_now, "mysql", "mariadb")
def _on_mysql(_element: database_now, _compiler: Any, **_options: Any) -> str:
    return "TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', UTC_TIMESTAMP(6))"
