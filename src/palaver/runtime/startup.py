"""Errors that stop a service from starting, and its data directory."""

import os
from pathlib import Path


class StartError(Exception):
    """A service cannot start. The text is one line for the operator, who can do something about it."""


def make_data_directory(path: Path) -> None:
    """Makes the directory, and lets its owner alone read what this process writes from now on.

    Raises `StartError`.
    """
    # Databases, keys and logs hold what other users of the machine must not see
    os.umask(0o077)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "Not a directory" if isinstance(error, FileExistsError) else error.strerror
        raise StartError(f"cannot write to data directory {path}: {reason}") from None
