"""The steps of migration scripts: one DDL statement each, which may be run again.

SQLite runs a whole migration in one transaction. MySQL commits each DDL statement by itself: a migrator that
is killed leaves a script half done, and the next one begins it anew. So a step does nothing there where it
was done.

The previous version of a service may still run while scripts do. So they only add: what it writes must stay
allowed, and what it reads must stay. What nothing reads any more goes with a later version (expand, then
contract).
"""

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

from palaver.runtime.sql.columns import INNODB, MYSQL


def create_table(name: str, *columns: sa.Column[Any], **options: Any) -> None:
    """Makes a table. Options are SQLAlchemy's, of any dialect."""
    if not was_done(lambda found: found.has_table(name)):
        op.create_table(name, *columns, **INNODB, **options)


def create_index(name: str, table: str, columns: Sequence[str], **options: Any) -> None:
    """Makes an index."""
    if not was_done(lambda found: name in indexes_of(found, table)):
        op.create_index(name, table, columns, **options)


def drop_index(name: str, table: str) -> None:
    """Drops an index."""
    if not was_done(lambda found: name not in indexes_of(found, table)):
        op.drop_index(name, table)


def add_column(table: str, column: sa.Column[Any]) -> None:
    """Adds a column."""
    if not was_done(lambda found: column.name in {each["name"] for each in found.get_columns(table)}):
        op.add_column(table, column)


def insert_rows(table: sa.TableClause, rows: list[dict[str, Any]]) -> None:
    """Fills a table that has no rows yet."""
    if op.get_bind().execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first() is None:
        op.bulk_insert(table, rows)


def is_mysql() -> bool:
    """Whether the script runs on MySQL."""
    return op.get_bind().dialect.name == MYSQL


def was_done(look: Callable[[sa.Inspector], bool]) -> bool:
    """Whether a step was done by a migrator that did not come to the script's end."""
    # A new inspector each time: it remembers what it has seen
    return is_mysql() and look(sa.inspect(op.get_bind()))


def indexes_of(found: sa.Inspector, table: str) -> set[str | None]:
    """The names of a table's indexes."""
    return {index["name"] for index in found.get_indexes(table)}
