"""Statements over many rows at once, on MySQL."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.messenger.store import mysql_rows
from palaver.messenger.store.mysql_rows import chunks, literal
from palaver.runtime.sql.mysql import STATEMENT_BYTES

ROWS = st.lists(st.tuples(st.binary(max_size=30), st.text(max_size=30), st.integers()), max_size=40)


@pytest.fixture
def sql_engine() -> str:
    """None is needed."""
    return "sqlite"


@given(ROWS)
def test_pieces_are_all_rows_in_order(rows: list[tuple[bytes, str, int]]) -> None:
    """Rows at the border of two statements would be lost, or be written twice."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mysql_rows, "CHUNK_ROWS", 5)
        patch.setattr(mysql_rows, "CHUNK_BYTES", 60)
        pieces = list(chunks(rows))
    assert [row for piece in pieces for row in piece] == rows
    assert all(1 <= len(piece) <= 5 for piece in pieces)


def test_a_piece_of_the_longest_texts_fits_a_statement() -> None:
    """The server closes the connection of whoever sends more."""
    longest = "'" * 1_048_576
    for piece in chunks([(b"'" * 16, longest)] * 5):
        assert sum(2 * len(text) + 2 * len(one) + 100 for one, text in piece) < STATEMENT_BYTES
    smiles = "\N{PILE OF POO}" * 16_384
    for piece in chunks([(smiles,)] * 300):
        assert sum(len(text.encode()) for (text,) in piece) < STATEMENT_BYTES


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"", "x''"),
        (b"\0'\xff", "x'0027ff'"),
        ("it's \\ \0 %s", "'it\\'s \\\\ \\0 %s'"),
        (True, "1"),
        (-5, "-5"),
    ],
)
def test_values_cannot_leave_their_place(value: object, text: str) -> None:
    """A text could end its literal, and go on as a statement."""
    assert literal(value) == text


@pytest.mark.parametrize("value", [None, 1.5, bytearray(b"x")])
def test_a_value_of_another_kind_is_refused(value: object) -> None:
    """What is written would be something else than what was given."""
    with pytest.raises(TypeError):
        literal(value)
