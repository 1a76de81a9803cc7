"""Options that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="TOML file of settings; PALAVER_… variables win over it."),
]
DataDir = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Where databases, logs and traces are; by default as set.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
