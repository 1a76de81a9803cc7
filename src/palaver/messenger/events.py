"""What a committed transaction has touched: entries of the commit log, and what replicas publish to each
other.

Ids are 16 bytes. An entry names what changed and never repeats it: whoever follows the log reads the rest
from the store, where it may have changed once more.
"""

from typing import NamedTuple

import msgspec


class Position(NamedTuple):
    """A place in the commit log. A writer's numbers are 1, 2, 3 … without holes, in the order of its
    commits."""

    writer: int
    number: int


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One thing that a transaction has touched."""


class MessagesAppended(Entry, frozen=True, tag=1):
    """New messages of a chat, with consecutive seqs. `members_version`: as the transaction found it."""

    chat_id: bytes
    first_seq: int
    last_seq: int
    members_version: int


class MessageChanged(Entry, frozen=True, tag=2):
    """A message was edited or deleted."""

    chat_id: bytes
    seq: int


class ReceiptMoved(Entry, frozen=True, tag=3):
    """How far a member has received and read a chat now."""

    chat_id: bytes
    user_id: bytes
    received_seq: int
    read_seq: int


class MembersChanged(Entry, frozen=True, tag=4):
    """Users joined a chat or left it."""

    chat_id: bytes
    user_ids: tuple[bytes, ...]


class PresenceChanged(Entry, frozen=True, tag=5):
    """A user's first socket opened, or the last one closed. `last_seen_at`: microseconds since the epoch."""

    user_id: bytes
    online: bool
    last_seen_at: int


class Typing(Entry, frozen=True, tag=6):
    """A member is typing. Published, and never logged: nobody wants to know it afterwards."""

    chat_id: bytes
    user_id: bytes


Event = MessagesAppended | MessageChanged | ReceiptMoved | MembersChanged | PresenceChanged | Typing


class Commit(NamedTuple):
    """One row of the commit log."""

    position: Position
    entries: list[Event]


encode_entries = msgspec.msgpack.Encoder().encode
decode_entries = msgspec.msgpack.Decoder(list[Event]).decode
