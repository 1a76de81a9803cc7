"""Searches by the beginnings of names."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.auth.names import cursor_of_place, fold, place_of_cursor, range_of_prefix, words_of_query
from palaver.contracts.errors import INVALID, PalaverError


@given(st.text(), st.text())
def test_range_holds_just_what_starts_so(prefix: str, text: str) -> None:
    """Searches would miss users whose names are not ASCII, or find others."""
    least, above = range_of_prefix(fold(prefix))
    for name in (fold(text), fold(prefix) + fold(text), fold(prefix)):
        assert (least <= name < above) == name.startswith(fold(prefix))


@pytest.mark.parametrize("last", ["\x7f", "\u07ff", "\ud7ff", "\uffff", "\U0010ffff"])
def test_range_holds_the_last_characters(last: str) -> None:
    """The names that come last in Unicode would never be found."""
    least, above = range_of_prefix(b"a")
    assert least <= b"a" + (last * 3).encode() < above


def test_case_does_not_matter() -> None:
    """Whoever writes a name in lower case would find nobody."""
    assert fold("ÉMILE") == fold("émile") == fold("e\u0301mile")
    assert fold("STRASSE") == fold("straße")
    assert fold("ΣΊΣΥΦΟΣ") == fold("σίσυφος")


def test_one_or_two_words() -> None:
    """A full name would not be understood."""
    assert words_of_query(" Alice ") == [b"alice"]
    assert words_of_query("Alice\u00a0LIDDELL") == [b"alice", b"liddell"]


@pytest.mark.parametrize("query", ["", "  ", "a b c", "a\0", "\ud800", "x" * 211])
def test_other_queries_are_refused_by_name(query: str) -> None:
    """A search for nothing would read the whole directory; a strange text would crash it."""
    with pytest.raises(PalaverError) as caught:
        words_of_query(query)
    assert (caught.value.kind, caught.value.field) == (INVALID, "q")


@given(st.tuples(st.binary(), st.binary(), st.binary()))
def test_cursor_names_its_place(place: tuple[bytes, bytes, bytes]) -> None:
    """A next page would start somewhere else. It goes into a URL as it is."""
    cursor = cursor_of_place(place)
    assert cursor.replace("-", "").replace("_", "").isalnum()
    assert place_of_cursor(cursor) == place


@given(st.text(max_size=40))
def test_made_up_cursors_are_refused(cursor: str) -> None:
    """A strange cursor would crash the request."""
    place = None
    with contextlib.suppress(PalaverError):
        place = place_of_cursor(cursor)
    assert place is None or [type(part) for part in place] == [bytes] * 3


@pytest.mark.parametrize("cursor", ["x", "\u0661", "kqFhoWI", "oWE", "\ud800", "=", "kwEBAQ"])
def test_refused_cursors_are_named(cursor: str) -> None:
    """A client would not know what is wrong with its request."""
    with pytest.raises(PalaverError) as caught:
        place_of_cursor(cursor)
    assert (caught.value.kind, caught.value.field) == (INVALID, "cursor")
