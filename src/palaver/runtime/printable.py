"""What of a foreign text may go into a header, a log line or onto a terminal."""


def printable(text: str, most: int | None = None, *, ascii_only: bool = False, instead: str = "") -> str:
    """The first `most` characters of `text`, with `instead` for each one that is a command and no character.

    `ascii_only`: for headers, where all others would be read in another encoding.
    """
    text = text[:most]
    if text.isprintable() and (not ascii_only or text.isascii()):
        return text
    return "".join(
        character if character.isprintable() and (not ascii_only or character.isascii()) else instead
        for character in text
    )
