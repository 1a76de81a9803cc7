"""Ids: UUIDs, 16 bytes in databases and gRPC, canonical lower-case text in JSON."""

from uuid import UUID, uuid5

import uuid_utils

from palaver.contracts.errors import INVALID, PalaverError

# Written in Rust, here and below: every message that is delivered or listed has up to four ids
_uuid = uuid_utils.UUID.from_bytes  # type: ignore[attr-defined] # its stubs leave it out
_DERIVED = UUID("6f1d3c4e-7f5b-5c1e-9b0a-0d9a3a3f6c11")


def new_id() -> bytes:
    """A new UUIDv7 (RFC 9562 §5.7): ids that are made later sort later, which keeps indexes compact."""
    return uuid_utils.uuid7().bytes


def id_from_text(text: str, field: str) -> bytes:
    """The 16 bytes of a UUID in its 36-character form, in either case.

    Raises `invalid`, naming `field`.
    """
    # Other forms, in braces or without hyphens, have other lengths
    if len(text) == 36:
        try:
            return uuid_utils.UUID(text).bytes
        except ValueError:
            pass
    raise PalaverError(INVALID, f"{field} must be a UUID", field=field)


def text_from_id(raw: bytes) -> str:
    """The canonical form of a 16-byte id."""
    return str(_uuid(raw))


def span_id_of_message(message_id: bytes) -> str:
    """The id of the span in which a message is journalled. Derived from the message's own id, so that whoever
    reads the message later, on a resume, can name the span."""
    return message_id[8:].hex()


def derived_id(owner: bytes, key: str) -> bytes:
    """The id that `key` always gives for `owner` (UUIDv5): a repeated request names the same thing."""
    return uuid5(_DERIVED, f"{owner.hex()}:{key}").bytes
