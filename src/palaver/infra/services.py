"""Services that run on the engines: how they are started with their settings, and stopped."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from palaver.infra.processes import identity_of, stop_process
from palaver.infra.status import Say
from palaver.runtime.directory_lock import lock_owner
from palaver.runtime.startup import StartError

COMMAND = "service"
STOP_SECONDS = 60.0


def become_command(words: Sequence[str], settings_file: Path) -> NoReturn:
    """Becomes a `palaver` command with the settings file. Raises `StartError`."""
    command = [sys.executable, "-m", "palaver", *words, "--config", str(settings_file)]
    try:
        os.execv(command[0], command)  # noqa: S606 - no shell is wanted
    except OSError as error:
        raise StartError(f"cannot run {' '.join(words)}: {error.strerror}") from None


def stop_services(data_dir: Path, say: Say) -> None:
    """Stops the `palaver service` of a data directory, where one runs. Raises `StartError`."""
    pid = lock_owner(data_dir)
    process = None if pid is None else identity_of(pid)
    # A `palaver up` on this directory has engines of its own
    if process is None or COMMAND not in words_of(process.pid):
        return
    if stop_process(process, "palaver service", STOP_SECONDS):
        say(f"{'services':<20} stopped")


def words_of(pid: int) -> list[str]:
    """The command of a process; empty where it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace").split("\0")
    except OSError:
        return []
