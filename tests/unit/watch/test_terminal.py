"""Writing lines."""

import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.watch.terminal import printable_row, quoted, red, until_nobody_reads, write_rows

ROW = f"{red('[red]auth ')}:smile: x   {'y' * 300}   "


class Stdout(io.TextIOWrapper):
    """A stdout that knows ASCII alone."""

    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__(io.BytesIO(), "ascii")
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        """As it was made."""
        return self._is_terminal

    def shown(self) -> bytes:
        """All that was written."""
        self.flush()
        self.seek(0)
        return self.buffer.read()


def test_a_pipe_gets_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that read the output would meet colours, and spaces at the end of lines."""
    stdout = Stdout(is_terminal=False)
    monkeypatch.setattr(sys, "stdout", stdout)
    write_rows(ROW)
    assert stdout.shown() == b"[red]auth :smile: x   " + b"y" * 300 + b"\n"


def test_a_terminal_gets_colours_and_no_other_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """Brackets in a line would be taken for markup, words for pictures, or long lines be cut."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    stdout = Stdout(is_terminal=True)
    monkeypatch.setattr(sys, "stdout", stdout)
    write_rows(ROW)
    assert stdout.shown() == f"{ROW}\n".encode()
    assert "\x1b[31m[red]auth \x1b[0m:smile:" in ROW


def test_an_old_terminal_is_no_reason_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dot would end the command where the terminal knows no Unicode."""
    stdout = Stdout(is_terminal=False)
    monkeypatch.setattr(sys, "stdout", stdout)

    @until_nobody_reads
    def show() -> int:
        write_rows("·")
        return 7

    assert show() == 7
    assert stdout.shown() == b"?\n"


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
