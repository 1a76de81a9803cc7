"""Header fields of requests, and what may stand in one."""

from starlette.types import Scope


def header_of(scope: Scope, name: bytes) -> bytes | None:
    """The value of the first header of that name, which is given in lower case."""
    for key, value in scope["headers"]:
        if key == name:
            found: bytes = value
            return found
    return None


def printable_ascii(text: str) -> str:
    """`text` without the characters that not every client and proxy carries in a header unchanged."""
    return "".join(character for character in text if " " <= character <= "~")
