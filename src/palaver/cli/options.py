"""Options that several commands take, and how a command fails."""

from pathlib import Path
from typing import Annotated, NoReturn

import typer

Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="TOML file of settings; PALAVER_… variables win over it."),
]
DataDir = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Where databases, logs and traces are; by default as set.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
WithParent = Annotated[
    int | None, typer.Option("--with-parent", hidden=True, help="End when this process, our parent, ends.")
]


def fail(reason: str) -> NoReturn:
    """Ends the process with one line on stderr, and exit code 1."""
    raise SystemExit(f"palaver: {reason}")
