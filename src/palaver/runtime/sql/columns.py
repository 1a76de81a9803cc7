"""Columns' types, one spelling for both dialects.

MySQL has no key over a BLOB or a TEXT. Its collations take different texts for the same ("é" for "e", "a "
for "a"), and the defaults of server and schema may be any: keys are bytes, and texts name their collation.
"""

from typing import Any

from sqlalchemy import Dialect, LargeBinary, String, Text, TypeDecorator
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

MYSQL = "mysql"
CHARSET = {"charset": "utf8mb4", "collation": "utf8mb4_bin"}

# Options of every table: what MySQL would take from the server's or the schema's defaults. DYNAMIC rows have
# keys of 3,072 bytes, others of 767
INNODB: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": CHARSET["charset"],
    "mysql_collate": CHARSET["collation"],
    "mysql_row_format": "DYNAMIC",
}

LongText = Text().with_variant(mysql.MEDIUMTEXT(**CHARSET), MYSQL)
LongBinary = LargeBinary().with_variant(mysql.MEDIUMBLOB(), MYSQL)


def binary(length: int) -> LargeBinary:
    """Up to so many bytes. MySQL's BINARY would lose a last byte 00, and its BLOB can be no key."""
    return LargeBinary(length).with_variant(mysql.VARBINARY(length), MYSQL)


def string(length: int, code_points: int) -> String:
    """A text of so many characters, each of which may be several code points: MySQL counts those, and refuses
    more. SQLite bounds nothing."""
    return String(length).with_variant(mysql.VARCHAR(code_points, **CHARSET), MYSQL)


class StringKey(TypeDecorator[str]):
    """A text that is compared by its bytes: MySQL stores UTF-8 of at most `most_bytes`."""

    impl = String
    cache_ok = True

    def __init__(self, length: int, most_bytes: int) -> None:
        super().__init__(length)
        self.most_bytes = most_bytes

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """VARBINARY on MySQL."""
        if dialect.name == MYSQL:
            return dialect.type_descriptor(mysql.VARBINARY(self.most_bytes))
        return super().load_dialect_impl(dialect)

    def process_bind_param(self, value: str | None, dialect: Dialect) -> Any:
        """The text as it is stored."""
        return value.encode() if value is not None and dialect.name == MYSQL else value

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002 - the signature is SQLAlchemy's
        """The text that was stored."""
        return value.decode() if isinstance(value, bytes) else value
