"""The archive's servers behind a small port: one statement on one node."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

Rows = list[tuple[Any, ...]]


class Address(NamedTuple):
    """Where a node takes connections of the native protocol."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class NodeError(Exception):
    """A node did not do what it was asked, or has not said so. The text is for logs."""


class NodeAwayError(NodeError):
    """A node does not answer, or is not asked for a while because it did not answer."""


class TooManyPartsError(NodeError):
    """A node does not come after with its merges: inserts must become fewer."""


class NoSuchTableError(NodeError):
    """A node does not have the table, or its database."""


class ArchiveNodes(Protocol):
    """Runs statements. Strings are bytes, in rows that are given and in rows that are returned.

    All raise `NodeError`, within a bounded time.
    """

    async def select(self, address: Address, statement: str) -> Rows:
        """The rows of a SELECT."""
        ...

    async def insert(self, address: Address, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Inserts rows by a statement that ends with `VALUES`."""
        ...

    async def define(self, address: Address, statement: str) -> None:
        """Runs a statement that makes something."""
        ...

    async def close(self) -> None:
        """Ends what runs, and closes all connections."""
        ...
