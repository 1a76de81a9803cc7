"""Texts of users: how long they are, in bytes and in characters as readers count them, and what none has.

Characters alone bound nothing: one of them may be a megabyte of accents. All here takes time in proportion to
the text.
"""

import regex

from palaver.contracts.errors import INVALID, PalaverError

# No code point takes more in UTF-8, so that a length in code points often decides
BYTES_OF_CODE_POINT = 4

# An extended grapheme cluster (UAX #29): what a reader takes for one character. Pairs of regional indicators,
# which are flags, are matched apart: `\X` goes back to the beginning of their row for each of them, so that
# a row of 30,000 would take seconds
_character = regex.compile(r"[\U0001F1E6-\U0001F1FF]{2}[\p{GCB=Extend}\p{GCB=ZWJ}\p{GCB=SpacingMark}]*+|\X")


def check_text(text: str, field: str, characters: int, most_bytes: int) -> None:
    """Accepts 1 to `characters` characters of any Unicode, a character being an extended grapheme cluster, in
    at most `most_bytes` bytes of UTF-8.

    Raises `invalid`, naming `field`: for an empty or longer text, for NUL, and for half of a surrogate pair,
    which UTF-8 cannot encode.
    """
    if not text:
        raise PalaverError(INVALID, f"{field} must not be empty", field=field)
    if "\0" in text:
        raise PalaverError(INVALID, f"{field} must not contain the character NUL", field=field)
    if not text.isascii() and has_surrogate(text):
        raise PalaverError(INVALID, f"{field} has half of a surrogate pair", field=field)
    # Bytes first: they bound the time that counting characters takes. A length costs nothing
    if len(text) > most_bytes // BYTES_OF_CODE_POINT and bytes_of(text) > most_bytes:
        raise PalaverError(INVALID, f"{field} must have at most {most_bytes:,} bytes", field=field)
    # There are never more characters than code points
    if len(text) > characters and not fits(text, characters):
        raise PalaverError(INVALID, f"{field} must have at most {characters:,} characters", field=field)


def bytes_of(text: str) -> int:
    """How many bytes of UTF-8 a text is."""
    return len(text) if text.isascii() else len(text.encode())


def fits(text: str, limit: int) -> bool:
    """Whether `text` has at most `limit` characters. Stops counting behind the limit."""
    return all(number <= limit for number, _ in enumerate(_character.finditer(text), start=1))


def cut_text(text: str, characters: int, most_bytes: int) -> str:
    """The beginning of `text` that has at most so many characters and bytes: whole characters, unless the
    first alone is larger."""
    if len(text) <= min(characters, most_bytes // BYTES_OF_CODE_POINT):
        return text
    if text.isascii() and "\r\n" not in text:
        # Every code point is a character and a byte
        return text[: min(characters, most_bytes)]
    most = len(text.encode()[:most_bytes].decode(errors="ignore"))
    end = 0
    # One code point more than fits: that a character goes on behind the cut must show
    for number, found in enumerate(_character.finditer(text[: most + 1]), start=1):
        if number > characters or found.end() > most:
            break
        end = found.end()
    return text[: end or most]


def has_surrogate(text: str) -> bool:
    """Whether `text` has a code point that only UTF-16 uses."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
