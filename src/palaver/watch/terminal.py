"""Where drawings go: coloured lines on a terminal, plain ones into pipes and files."""

import contextlib
import io
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TextIO

# Columns where nobody says how many there are
COLUMNS = 120


class Piece(NamedTuple):
    """A part of a line. `style`: as rich writes it, e.g. `bold red`; empty: none."""

    text: str
    style: str = ""


Line = Sequence[Piece]


class Paper:
    """Writes lines to a stream. `is_coloured`: by default, whether it is a terminal."""

    def __init__(self, stream: TextIO | None = None, is_coloured: bool | None = None) -> None:
        self._stream = stream or sys.stdout
        if isinstance(self._stream, io.TextIOWrapper):
            # A terminal that knows no Unicode is no reason to fail
            self._stream.reconfigure(errors="replace")
        self._console: Any = None
        if self._stream.isatty() if is_coloured is None else is_coloured:
            from rich.console import Console

            self._console = Console(file=self._stream, highlight=False, markup=False, emoji=False)
        self.columns = shutil.get_terminal_size((COLUMNS, 24)).columns

    def write(self, line: Line) -> None:
        """Writes one line. Raises `BrokenPipeError`."""
        if self._console is None:
            self._stream.write("".join(piece.text for piece in line).rstrip() + "\n")
            return
        from rich.text import Text

        self._console.print(Text.assemble(*line), soft_wrap=True)

    def write_raw(self, text: str) -> None:
        """Writes a line as it is. Raises `BrokenPipeError`."""
        self._stream.write(text + "\n")

    def flush(self) -> None:
        """Sends what was written. Raises `BrokenPipeError`."""
        self._stream.flush()


@contextlib.contextmanager
def until_nobody_reads() -> Iterator[None]:
    """Ends the block quietly on Ctrl-C, and when stdout's reader is gone, as `head` is after its lines."""
    try:
        yield
        sys.stdout.flush()
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:
        # Python would try to write the rest once more when it ends, and complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def shown(value: Any) -> str:
    """A value as `key=value` shows it: quoted where it has spaces, and without anything that a terminal could
    take for a command."""
    if not isinstance(value, str):
        text = json.dumps(value, ensure_ascii=False)
        return text if text.isprintable() else json.dumps(value)
    if value and value.isprintable() and not set(value) & {" ", '"', "="}:
        return value
    return json.dumps(value, ensure_ascii=not value.isprintable())


def printable(text: str) -> str:
    """One line of foreign text, without anything that a terminal could take for a command."""
    text = text.rstrip("\r").expandtabs()
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
