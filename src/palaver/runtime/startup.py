"""Errors that stop a service from starting, and its data directory."""

import os
from pathlib import Path

# The exit code of a service whose next start would fail too (EX_CONFIG of sysexits.h)
FINAL_CODE = 78


class StartError(Exception):
    """A service cannot start. The text is one line for the operator, who can do something about it.

    `passes`: the next start may succeed, although nobody has done anything.
    """

    def __init__(self, text: str, *, passes: bool = False) -> None:
        super().__init__(text)
        self.passes = passes


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
