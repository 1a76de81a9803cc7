"""What this client refuses by itself, since every server would, after a way to it and back."""

from collections.abc import Mapping

import msgspec

from palaver.contracts.errors import INVALID, TOO_LARGE, PalaverError
from palaver.contracts.frames import Send
from palaver.contracts.ids import id_from_text, text_from_id
from palaver.contracts.seqs import LAST_SEQ

# What the gateway takes; a larger frame would be answered with a close, again after each connection.
FRAME_BYTES = 262_144


def canonical_id(text: str, field: str) -> str:
    """A UUID as the server writes it. Raises `invalid`."""
    return text_from_id(id_from_text(text, field))


def check_seq(seq: int, field: str) -> None:
    """Raises `invalid` for what is no seq."""
    if not 0 <= seq <= LAST_SEQ:
        raise PalaverError(INVALID, f"{field} must be a seq", field=field)


def checked_cursors(cursors: Mapping[str, int]) -> dict[str, int]:
    """Cursors with canonical chat ids. Raises `invalid`."""
    for seq in cursors.values():
        check_seq(seq, "cursors")
    return {canonical_id(chat_id, "cursors"): seq for chat_id, seq in cursors.items()}


def check_send(frame: Send) -> None:
    """Raises for a send that no server takes: `invalid` for an empty text or NUL, `too_large`."""
    if not frame.text or "\0" in frame.text:
        raise PalaverError(INVALID, "text must not be empty, nor contain the character NUL", field="text")
    try:
        size = len(msgspec.json.encode(frame))
    except UnicodeEncodeError:
        raise PalaverError(INVALID, "text is not valid Unicode", field="text") from None
    if size > FRAME_BYTES:
        raise PalaverError(TOO_LARGE, f"a frame has at most {FRAME_BYTES:,} bytes", field="text")
