"""What of a foreign text may go into a header, a log line or onto a terminal."""


def printable(
    text: str, most: int | None = None, *, ascii_only: bool = False, keep: str = "", instead: str = ""
) -> str:
    """The first `most` characters of `text`, with `instead` for each one that is no character but a command.

    `ascii_only`: for headers, where all others would be read in another encoding. `keep`: commands that stay,
    e.g. line breaks.
    """
    text = text[:most]
    if text.isprintable() and (not ascii_only or text.isascii()):
        return text
    return "".join(
        character
        if character in keep or (character.isprintable() and (not ascii_only or character.isascii()))
        else instead
        for character in text
    )
