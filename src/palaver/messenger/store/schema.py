"""The messenger's tables. Ids are 16 bytes, times microseconds since the epoch."""

import secrets
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    event,
    text,
)

from palaver.runtime.sql.columns import INNODB, LongBinary, LongText, StringKey, binary, string

metadata = MetaData()

DIRECT = 1
GROUP = 2

Id = binary(16)

chats = Table(
    "chats",
    metadata,
    Column("id", Id, primary_key=True),
    Column("kind", SmallInteger, nullable=False),
    Column("title", string(200, 1024), nullable=False, default=""),
    # Both user ids of a direct chat, the lesser first: the one place that makes a pair's chat unique
    Column("pair", binary(32), unique=True),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Id, nullable=False),
    Column("last_seq", BigInteger, nullable=False, default=0),
    # The newest message's time, or the creation's
    Column("active_at", BigInteger, nullable=False),
    # Counts changes of members: a send that was checked against older members is checked again
    Column("members_version", Integer, nullable=False, default=1),
    sqlite_with_rowid=False,
    **INNODB,
)

members = Table(
    "members",
    metadata,
    Column("chat_id", Id, ForeignKey("chats.id"), primary_key=True),
    Column("user_id", Id, primary_key=True),
    Column("joined_at", BigInteger, nullable=False),
    # The last seq that somebody who left may read; null for a member
    Column("left_seq", BigInteger),
    Column("received_seq", BigInteger, nullable=False, default=0),
    Column("read_seq", BigInteger, nullable=False, default=0),
    # The chat's activity, kept here so that a page of a user's chats is one walk over an index; of a large
    # group it may lag by a few seconds (see `sequencing.py`)
    Column("active_at", BigInteger, nullable=False),
    Index("members_by_activity", "user_id", "active_at", "chat_id"),
    sqlite_with_rowid=False,
    **INNODB,
)

messages = Table(
    "messages",
    metadata,
    Column("chat_id", Id, primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("id", Id, nullable=False),
    Column("sender_id", Id, nullable=False),
    Column("client_id", Id, nullable=False),
    # Empty where deleted
    Column("text", LongText, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("edited_at", BigInteger),
    Column("deleted_at", BigInteger),
    Column("trace_id", String(32), nullable=False, default=""),
    # Edits and deletions that the archive does not have yet; such a row is not trimmed
    Column("changes", Integer, nullable=False, default=0, server_default="0"),
    # Rows lie in the order of their chat and seq: a page of history is one piece of the file
    sqlite_with_rowid=False,
    **INNODB,
)

# Apart from the messages, because it stays when those move to an archive: a send that is repeated is
# answered from here alone. The client id comes first: those that are UUIDv7 grow with time, so that a
# batch's keys share a few pages instead of one a chat
message_keys = Table(
    "message_keys",
    metadata,
    Column("client_id", Id, primary_key=True),
    Column("chat_id", Id, primary_key=True),
    Column("sender_id", Id, primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("id", Id, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
    **INNODB,
)

# One row a committed transaction: what it has touched (see `events.py`), in MessagePack
commit_log = Table(
    "commit_log",
    metadata,
    Column("writer", SmallInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("entries", LongBinary, nullable=False),
    sqlite_with_rowid=False,
    **INNODB,
)

# A run of a chat's seqs that lies on one shard of the archive. Its rows are in the journal too until they are
# trimmed, and again where they were changed since
segments = Table(
    "segments",
    metadata,
    Column("chat_id", Id, primary_key=True),
    Column("first_seq", BigInteger, primary_key=True, autoincrement=False),
    Column("last_seq", BigInteger, nullable=False),
    Column("shard_id", Integer, nullable=False),
    # Counts what changed in it since it was archived: who read one of its messages sees that there is a newer
    # one
    Column("changes", Integer, nullable=False, default=0),
    # The time of the oldest of its rows that may be trimmed from the journal; null: there is none
    Column("trim_at", BigInteger),
    Index("segments_by_trim", "trim_at"),
    sqlite_with_rowid=False,
    **INNODB,
)

# The archive's shards. `host` and `port` are where a shard was found last
shards = Table(
    "shards",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("host", string(255, 255), nullable=False),
    Column("port", Integer, nullable=False),
    Column("weight", Integer, nullable=False),
    Column("state", string(16, 16), nullable=False),
    **INNODB,
)

# What one process at a time may do. The token grows with each holder; times are the database's
leases = Table(
    "leases",
    metadata,
    Column("name", StringKey(32, 32), primary_key=True),
    Column("holder", Id, nullable=False),
    Column("token", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    **INNODB,
)

# How far the archiver has followed each writer of the commit log
archive_positions = Table(
    "archive_positions",
    metadata,
    Column("writer", SmallInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
    **INNODB,
)

presence = Table(
    "presence",
    metadata,
    Column("user_id", Id, primary_key=True),
    # Whether companions have been sent that the user is there. Stored, so that it outlives this process: who
    # is gone when it starts again is announced then
    Column("online", Boolean, nullable=False, default=False),
    Column("last_seen_at", BigInteger, nullable=False),
    Index("presence_online", "user_id", sqlite_where=text("online")).ddl_if(dialect="sqlite"),
    # MySQL has no index of some rows alone
    Index("presence_online", "online", "user_id").ddl_if(dialect="mysql"),
    sqlite_with_rowid=False,
    **INNODB,
)

# Who commits under which number, where several do (see `writer_mysql.py`). Empty on SQLite
writers = Table(
    "writers",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    # Raised by each claim: whoever comes with an older one commits nothing
    Column("token", BigInteger, nullable=False),
    # The last one that was committed
    Column("number", BigInteger, nullable=False),
    # When somebody else may claim it, by the database's clock, in microseconds
    Column("expires_at", BigInteger, nullable=False),
    **INNODB,
)

# One row: with its key messengers sign when a socket was opened
proof_key = Table(
    "proof_key",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("key", binary(32), nullable=False),
    **INNODB,
)


@event.listens_for(proof_key, "after_create")
def make_proof_key(_table: Table, connection: Connection, **_: Any) -> None:
    """The table comes with its row: made later, it would wait for whoever holds the write lock."""
    connection.execute(proof_key.insert(), {"id": 1, "key": secrets.token_bytes(32)})
