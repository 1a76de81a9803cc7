"""The archive's tables, and every statement that is sent to ClickHouse, from 18.16 on.

No values are bound: neither the native protocol of 18.16 nor the embedded engine that tests run has
parameters of the server's. Values are numbers, names that settings have checked, and ids as escaped bytes.
"""

from collections.abc import Iterable

from palaver.messenger.domain import Message
from palaver.messenger.store.messages import PREVIEW_BYTES, Place

# The text lies in columns of so many bytes each; the last one has the rest. A merge builds blocks of 8,192
# rows, of one column after the other: with texts of 64 KiB in one column, a block would be 512 MiB
TEXT_PIECES = 8
TEXT_PIECE_BYTES = 8_192
TEXT_COLUMNS = [f"text_{number}" for number in range(1, TEXT_PIECES + 1)]
WHOLE_TEXT = f"concat({', '.join(TEXT_COLUMNS)})"

SHARD_TABLE = "messages_local"
CLUSTER_TABLE = "messages"
# On each shard, one row: which shard it is, wherever it is found
MARK_TABLE = "palaver_shard"

_IDS = {"chat_id", "id", "sender_id", "client_id"}
_TEXTS = {"text", "trace_id"}
# What is inserted, in order: a message's fields with the text in pieces, and the version
INSERTED = [
    column for field in Message._fields for column in (TEXT_COLUMNS if field == "text" else [field])
] + ["version"]
# What a change must not leave unnoticed when rows are read back
_CHECKED = ", ".join(
    WHOLE_TEXT if field == "text" else field if field in _IDS | _TEXTS else f"toString({field})"
    for field in Message._fields
)


def kind_of(column: str) -> str:
    """A column's type."""
    if column in _IDS:
        return "FixedString(16)"
    return "String" if column in _TEXTS or column in TEXT_COLUMNS else "UInt64"


_COLUMNS = ", ".join(f"{column} {kind_of(column)}" for column in INSERTED)


def create_database(database: str) -> str:
    """The database, on any node."""
    return f"CREATE DATABASE IF NOT EXISTS {database}"


def create_shard_table(database: str) -> str:
    """The messages of one shard.

    Not partitioned: a row that is inserted again replaces the earlier one only within a partition, and a
    page of a chat would be looked up in each. Granules are small, because a page reads whole ones.
    """
    return (
        f"CREATE TABLE IF NOT EXISTS {database}.{SHARD_TABLE} "
        f"({_COLUMNS}, text String ALIAS {WHOLE_TEXT}) "
        "ENGINE = ReplacingMergeTree(version) ORDER BY (chat_id, seq) "
        "SETTINGS index_granularity = 128, vertical_merge_algorithm_min_rows_to_activate = 1, "
        "vertical_merge_algorithm_min_columns_to_activate = 1"
    )


def create_cluster_table(database: str, cluster: str) -> str:
    """All shards' messages, for operators; on the cluster's node."""
    return (
        f"CREATE TABLE IF NOT EXISTS {database}.{CLUSTER_TABLE} "
        f"({_COLUMNS}, text String ALIAS {WHOLE_TEXT}) "
        f"ENGINE = Distributed({cluster}, {database}, {SHARD_TABLE})"
    )


def create_mark_table(database: str) -> str:
    """Where a shard's mark is."""
    return f"CREATE TABLE IF NOT EXISTS {database}.{MARK_TABLE} (id UInt32) ENGINE = TinyLog"


def read_mark(database: str) -> str:
    """The shard's mark; no row where it has none yet."""
    return f"SELECT id FROM {database}.{MARK_TABLE}"


def insert_mark(database: str) -> str:
    """Marks a shard."""
    return f"INSERT INTO {database}.{MARK_TABLE} (id) VALUES"


def read_topology(cluster: str) -> str:
    """Each replica of each shard that the cluster's node knows."""
    return (
        "SELECT shard_num, replica_num, shard_weight, host_name, port FROM system.clusters "
        f"WHERE cluster = '{cluster}' ORDER BY shard_num, replica_num"
    )


def insert_messages(database: str) -> str:
    """Inserts rows of `INSERTED`."""
    return f"INSERT INTO {database}.{SHARD_TABLE} ({', '.join(INSERTED)}) VALUES"


def select_span(database: str, chat_id: bytes, first: int, last: int) -> str:
    """A chat's messages with these seqs, in their order."""
    return (
        f"{_select(database)} WHERE chat_id = {literal(chat_id)} "
        f"AND seq >= {first:d} AND seq <= {last:d} ORDER BY seq"
    )


def select_at(database: str, places: Iterable[Place]) -> str:
    """The messages at some places."""
    return f"{_select(database)} WHERE {_is_at(places)}"


def select_previews(database: str, places: Iterable[Place]) -> str:
    """The same with the beginnings of their texts."""
    beginning = f"substring({TEXT_COLUMNS[0]}, 1, {PREVIEW_BYTES + 1})"
    return f"{_select(database, beginning)} WHERE {_is_at(places)}"


def select_checksum(database: str, places: Iterable[Place], version: int) -> str:
    """How many messages are at these places in this version, and the sum of their digests (see `rows`)."""
    return (
        f"SELECT count(), sum(halfMD5(concat({_CHECKED}))) FROM {database}.{SHARD_TABLE} FINAL "
        f"WHERE {_is_at(places)} AND version = {version:d}"
    )


def select_newest_version(database: str, places: Iterable[Place]) -> str:
    """The greatest version at some places; 0 where there is none."""
    return f"SELECT max(version) FROM {database}.{SHARD_TABLE} WHERE {_is_at(places)}"


def _select(database: str, text: str = WHOLE_TEXT) -> str:
    columns = ", ".join(f"{text} AS whole_text" if field == "text" else field for field in Message._fields)
    return f"SELECT {columns} FROM {database}.{SHARD_TABLE} FINAL"


def _is_at(places: Iterable[Place]) -> str:
    """A condition of two long literals: a literal each place takes ClickHouse 50 µs to parse."""
    ids, seqs = zip(*places, strict=True)
    names = b"".join(ids).hex()
    numbers = ", ".join(map(str, seqs))
    return (
        "(chat_id, seq) IN (SELECT "
        f"toFixedString(unhex(substring('{names}', number * 32 + 1, 32)), 16), "
        f"toUInt64([{numbers}][number + 1]) FROM system.numbers LIMIT {len(ids)})"
    )


def literal(raw: bytes) -> str:
    """Bytes as a string of ClickHouse's."""
    return "'" + "".join(f"\\x{byte:02x}" for byte in raw) + "'"
