"""Texts of users: their length in characters as readers count them, and what no text may hold."""

import regex

from palaver.contracts.errors import INVALID, PalaverError

# An extended grapheme cluster (UAX #29): what a reader takes for one character
_character = regex.compile(r"\X")


def check_text(text: str, field: str, limit: int) -> None:
    """Accepts 1 to `limit` characters of any Unicode, a character being an extended grapheme cluster.

    Raises `invalid`, naming `field`: for an empty or longer text, for NUL, and for half of a surrogate pair,
    which UTF-8 cannot encode.
    """
    if not text:
        raise PalaverError(INVALID, f"{field} must not be empty", field=field)
    if "\0" in text:
        raise PalaverError(INVALID, f"{field} must not contain the character NUL", field=field)
    if not text.isascii() and has_surrogate(text):
        raise PalaverError(INVALID, f"{field} has half of a surrogate pair", field=field)
    # There are never more characters than code points, and counting those costs nothing
    if len(text) > limit and not fits(text, limit):
        raise PalaverError(INVALID, f"{field} must have at most {limit:,} characters", field=field)


def fits(text: str, limit: int) -> bool:
    """Whether `text` has at most `limit` characters. Stops counting behind the limit."""
    return all(number <= limit for number, _ in enumerate(_character.finditer(text), start=1))


def has_surrogate(text: str) -> bool:
    """Whether `text` has a code point that only UTF-16 uses."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
