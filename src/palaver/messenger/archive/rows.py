"""Messages as rows of the archive, and what shows that rows arrived as they were sent."""

from collections.abc import Iterable
from hashlib import md5
from typing import Any

from palaver.messenger.archive.statements import TEXT_PIECE_BYTES, TEXT_PIECES
from palaver.messenger.domain import Message

TEXT = Message._fields.index("text")
TRACE = Message._fields.index("trace_id")
_MODULUS = 2**64


def to_row(message: Message, version: int) -> tuple[Any, ...]:
    """A message as `statements.INSERTED` orders it."""
    text = message.text.encode()
    last = TEXT_PIECES - 1
    pieces = [text[n * TEXT_PIECE_BYTES : (n + 1) * TEXT_PIECE_BYTES] for n in range(last)]
    rest = message[TEXT + 1 : TRACE]
    return (
        *message[:TEXT],
        *pieces,
        text[last * TEXT_PIECE_BYTES :],
        *rest,
        message.trace_id.encode(),
        *message[TRACE + 1 :],
        version,
    )


def from_row(row: tuple[Any, ...]) -> Message:
    """A message as a SELECT returns it. The beginning of a text may end within a character, which is left
    out."""
    fields = list(row)
    fields[TEXT] = row[TEXT].decode(errors="ignore")
    fields[TRACE] = row[TRACE].decode()
    return Message._make(fields)


def digest(messages: Iterable[Message]) -> int:
    """The sum that `statements.select_checksum` finds where these messages are stored. MD5 is what both
    sides have; nobody is to be kept from forging a message here."""
    return sum(_digest(message) for message in messages) % _MODULUS


def _digest(message: Message) -> int:
    hashed = md5(usedforsecurity=False)
    for field in message:
        hashed.update(field if isinstance(field, bytes) else str(field).encode())
    return int.from_bytes(hashed.digest()[:8], "big")
