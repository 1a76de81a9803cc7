"""Reading on the shortest way, for what is read most."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Select


class Query:
    """A SELECT that is compiled once a dialect, and run on the driver's own cursor.

    SQLAlchemy's own way, with its contexts and row objects, takes longer than SQLite does for the 50 rows
    of a page. What is left out is the conversion of values: only for bytes, integers and texts.
    """

    def __init__(self, statement: "Select[Any]") -> None:
        self._statement = statement
        # by dialect: the text, the names of its parameters in order, the values of those not given
        self._compiled: dict[str, tuple[str, Sequence[str], Mapping[str, Any]]] = {}

    def rows(self, connection: Connection, given: Mapping[str, Any]) -> Sequence[tuple[Any, ...]]:
        """All rows, as plain tuples."""
        cursor = self.run(connection, given)
        rows: Sequence[tuple[Any, ...]] = cursor.fetchall()
        cursor.close()
        return rows

    def run(self, connection: Connection, given: Mapping[str, Any]) -> Any:
        """The driver's cursor (PEP 249) before its first row. The caller closes it."""
        compiled = self._compiled.get(connection.dialect.name)
        if compiled is None:
            compiled = self._compiled[connection.dialect.name] = self._compile(connection)
        text, names, known = compiled
        cursor = connection.connection.cursor()
        cursor.execute(text, [given[name] if name in given else known[name] for name in names])
        return cursor

    def _compile(self, connection: Connection) -> tuple[str, Sequence[str], Mapping[str, Any]]:
        compiled: Any = self._statement.compile(dialect=connection.dialect)
        assert compiled.positional, "every driver that is used takes its parameters by place"
        return compiled.string, compiled.positiontup, compiled.params
