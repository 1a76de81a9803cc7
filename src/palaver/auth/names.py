"""Searches by the beginnings of names: what is searched, and where a page ends. Pure functions.

Names are compared case-folded, as UTF-8. The byte FF is in no UTF-8, so that everything that starts with
`p` lies between `p` and `p + FF`: one range of an index.
"""

import base64
import binascii

import msgspec

from palaver.auth.domain import casefold
from palaver.contracts.errors import INVALID, PalaverError
from palaver.runtime.texts import check_text

QUERY_CHARACTERS = 210
QUERY_BYTES = 1_024

# Folded surname, folded name, id: users are listed in this order
Place = tuple[bytes, bytes, bytes]


def fold(text: str) -> bytes:
    """A name as it is searched and sorted."""
    return casefold(text).encode()


def range_of_prefix(prefix: bytes) -> tuple[bytes, bytes]:
    """What starts with `prefix` is at least the first and less than the second."""
    return prefix, prefix + b"\xff"


def words_of_query(query: str, field: str = "q") -> list[bytes]:
    """The one or two words to search for, folded. Raises `invalid`."""
    check_text(query, field, QUERY_CHARACTERS, QUERY_BYTES)
    words = query.split()
    if not 1 <= len(words) <= 2:
        raise PalaverError(INVALID, f"{field} must be one or two words", field=field)
    return [fold(word) for word in words]


def cursor_of_place(place: Place) -> str:
    """The opaque text that names the place after which a page starts."""
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(place)).decode().rstrip("=")


def place_of_cursor(cursor: str) -> Place:
    """The place that `cursor` names. Raises `invalid`."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        place: Place = msgspec.msgpack.decode(raw, type=Place)
    except (binascii.Error, ValueError, msgspec.DecodeError):
        raise PalaverError(INVALID, "cursor is not one that was given out", field="cursor") from None
    return place
