"""A current ClickHouse, embedded in this process, behind the port `ArchiveNodes`."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from chdb.session import Session

from palaver.messenger.archive.nodes import Address, NodeError, NoSuchTableError, Rows
from palaver.messenger.archive.statements import literal
from tests.harness.clickhouse import CLUSTER

ESCAPES = {
    b"\\": b"\\",
    b"t": b"\t",
    b"n": b"\n",
    b"0": b"\0",
    b"b": b"\b",
    b"f": b"\f",
    b"r": b"\r",
    b"'": b"'",
}

# The cluster that is looked for; nothing is ever sent there
CONFIG = f"""<clickhouse><remote_servers><{CLUSTER}><shard><replica>
  <host>127.0.0.1</host><port>9000</port>
</replica></shard></{CLUSTER}></remote_servers></clickhouse>"""


class ChdbNodes:
    """One engine, which is every node: the cluster's, and its one shard. A process has one engine."""

    def __init__(self, directory: Path) -> None:
        config = directory / "config.xml"
        config.write_text(CONFIG)
        self._session = Session(f"{directory}/data?config-file={config}")

    async def select(self, _address: Address, statement: str) -> Rows:
        """See `ArchiveNodes.select`."""
        found = self._run(statement, "TabSeparatedWithNamesAndTypes").split(b"\n")
        kinds = found[1].split(b"\t") if len(found) > 1 else []
        return [
            tuple(value_of(*pair) for pair in zip(kinds, line.split(b"\t"), strict=True))
            for line in found[2:-1]
        ]

    async def insert(self, _address: Address, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """See `ArchiveNodes.insert`."""
        values = ", ".join(f"({', '.join(text_of(row))})" for row in rows)
        self._run(f"{statement} {values}", "Null")

    async def define(self, _address: Address, statement: str) -> None:
        """See `ArchiveNodes.define`."""
        self._run(statement, "Null")

    async def close(self) -> None:
        """Nothing: the engine lives as long as the tests."""

    def _run(self, statement: str, shape: str) -> bytes:
        try:
            found = self._session.query(statement, shape)
        except RuntimeError as error:
            kind = NoSuchTableError if "UNKNOWN_" in str(error) else NodeError
            raise kind(str(error)) from error
        raw: bytes = found.bytes() if found is not None else b""
        return raw


def text_of(row: Iterable[Any]) -> list[str]:
    """A row's values as literals."""
    return [literal(value) if isinstance(value, bytes) else str(value) for value in row]


def value_of(kind: bytes, raw: bytes) -> Any:
    """A value of the format TabSeparated, as ClickHouse's driver returns it."""
    if kind.startswith((b"UInt", b"Int")):
        return int(raw)
    return re.sub(rb"\\(.)", lambda found: ESCAPES[found[1]], raw, flags=re.DOTALL)
