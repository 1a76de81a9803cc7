"""Foreign texts in headers, log lines and on terminals."""

from hypothesis import given
from hypothesis import strategies as st

from palaver.runtime.printable import printable


@given(st.text())
def test_nothing_is_left_that_a_terminal_obeys(text: str) -> None:
    """A client could clear an operator's screen, or write a line of its own into a log."""
    assert printable(text).isprintable()
    assert len(printable(text, instead="?")) == len(text)


@given(st.text(st.characters(exclude_categories=("C", "Z")) | st.just(" ")))
def test_honest_text_stays(text: str) -> None:
    """An operator would read another name than a program gives itself."""
    assert printable(text) == text


@given(st.text())
def test_headers_get_ascii_alone(text: str) -> None:
    """A character that no header can have would break the call to auth."""
    shown = printable(text, ascii_only=True)
    assert shown == "".join(character for character in text if " " <= character <= "~")


def test_length_is_bounded() -> None:
    """A client could fill the log with its name."""
    assert printable("Fön\x1b/1" * 9, 5) == "Fön/"


def test_some_commands_may_stay() -> None:
    """A message of many lines would be shown as one."""
    assert printable("a\nb\x1b[2J", keep="\n", instead="?") == "a\nb?[2J"
