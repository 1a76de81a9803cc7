"""Messages as rows."""

from hypothesis import given
from hypothesis import strategies as st

from palaver.messenger.archive.rows import digest, to_row
from palaver.messenger.archive.statements import INSERTED, TEXT_COLUMNS, TEXT_PIECE_BYTES
from palaver.messenger.domain import Message

MESSAGE = Message(b"c" * 16, 1, b"i" * 16, b"s" * 16, b"k" * 16, "text", 7, "trace", 8, 9)
CHANGED = {
    "chat_id": b"d" * 16,
    "seq": 2,
    "id": b"j" * 16,
    "sender_id": b"t" * 16,
    "client_id": b"l" * 16,
    "text": "texts",
    "created_at": 8,
    "trace_id": "other",
    "edited_at": 0,
    "deleted_at": 1,
}


@given(st.sampled_from(["a", "ж", "👪"]), st.integers(0, 3 * TEXT_PIECE_BYTES))
def test_pieces_are_the_text(letter: str, count: int) -> None:
    """Long messages would come back cut, or with a part of another text."""
    row = dict(zip(INSERTED, to_row(MESSAGE._replace(text=letter * count), 5), strict=True))
    pieces = [row[column] for column in TEXT_COLUMNS]
    assert b"".join(pieces).decode() == letter * count
    assert max(map(len, pieces[:-1])) <= TEXT_PIECE_BYTES
    assert (row["chat_id"], row["version"], row["deleted_at"]) == (b"c" * 16, 5, 9)


def test_a_text_beyond_the_columns_is_whole() -> None:
    """A longer text than today's settings allow would be cut for ever."""
    text = "x" * (len(TEXT_COLUMNS) * TEXT_PIECE_BYTES + 10)
    row = dict(zip(INSERTED, to_row(MESSAGE._replace(text=text), 1), strict=True))
    assert b"".join(row[column] for column in TEXT_COLUMNS).decode() == text


def test_every_field_is_in_the_digest() -> None:
    """What arrives changed in the archive would be trimmed from the journal."""
    assert set(CHANGED) == set(Message._fields)
    digests = {digest([MESSAGE._replace(**{field: value})]) for field, value in CHANGED.items()}
    assert len(digests | {digest([MESSAGE])}) == len(CHANGED) + 1
    two = [MESSAGE, MESSAGE._replace(seq=2)]
    assert digest(two) == digest(two[::-1]) != digest(two[:1])
