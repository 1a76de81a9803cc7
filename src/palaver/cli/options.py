"""Options that several commands take, and how a command fails."""

from pathlib import Path
from typing import Annotated, NoReturn

import typer

from palaver.runtime.settings import Settings, load_settings
from palaver.runtime.startup import StartError

Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="TOML file of settings; PALAVER_… variables win over it."),
]
DataDir = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Where databases, logs and traces are; by default as set.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def settings_of(config: Path | None, data_dir: Path | None, *, exists: bool = True) -> Settings:
    """The settings, with the data directory of the option. Raises `StartError` where that is none.

    `exists`: False where the command does without, or makes it.
    """
    settings = load_settings(config)
    settings.data_dir = (data_dir or settings.data_dir).expanduser()
    if exists and not settings.data_dir.exists():
        raise StartError(f"there is no data directory {settings.data_dir} (--data-dir)")
    if settings.data_dir.exists() and not settings.data_dir.is_dir():
        raise StartError(f"cannot write to data directory {settings.data_dir}: Not a directory")
    return settings


def fail(reason: str) -> NoReturn:
    """Ends the process with one line on stderr, and exit code 1."""
    raise SystemExit(f"palaver: {reason}")
