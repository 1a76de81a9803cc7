"""Writing lines."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.watch.terminal import Piece, Terminal, printable_row, quoted

LINE = [Piece("[red]auth ", "bold red"), Piece(":smile: x   ")]


def test_a_pipe_gets_plain_text() -> None:
    """Programs that read the output would meet colours, and spaces at the end of lines."""
    stream = io.StringIO()
    Terminal(stream).write([LINE])
    assert stream.getvalue() == "[red]auth :smile: x\n"


def test_a_terminal_gets_colours_and_no_other_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """Brackets in a line would be taken for markup, words for pictures, or long lines be cut."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    stream = io.StringIO()
    Terminal(stream, is_coloured=True).write([[*LINE, Piece("y" * 300)]])
    assert stream.getvalue() == f"\x1b[1;31m[red]auth \x1b[0m:smile: x   {'y' * 300}\n"


def test_an_old_terminal_is_no_reason_to_fail() -> None:
    """A bar would end the command where the terminal knows no Unicode."""
    raw = io.BytesIO()
    terminal = Terminal(io.TextIOWrapper(raw, "ascii"))
    terminal.write([[Piece("█")]])
    terminal.flush()
    assert raw.getvalue() == b"?\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("two words", '"two words"'),
        ("", '""'),
        ('a="b"', '"a=\\"b\\""'),
        ("é", "é"),
        ("\x1b[2J", '"\\u001b[2J"'),
        (1.5, "1.5"),
        (True, "true"),
        (None, "null"),
        ({"a": [1, "é"]}, '{"a": [1, "é"]}'),
        (["\x9b"], '["\\u009b"]'),
    ],
)
def test_values_are_told_apart(value: object, text: str) -> None:
    """Where a value ends could not be seen."""
    assert quoted(value) == text


@given(st.text())
def test_any_text_is_made_harmless(text: str) -> None:
    """A client's text could change what an operator sees."""
    assert quoted(text).isprintable()
    assert printable_row(text.strip("\r")).isprintable()
    assert quoted([text]).isprintable()
