"""Processes that outlive the command that starts them, and are recognised and stopped by a later one.

A pid alone may be somebody else's by now. So a pid file also has the time when the process began, in ticks
since the machine's start, and which start that was.
"""

import os
import select
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from palaver.infra.files import read_file
from palaver.runtime.startup import StartError

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# The 22nd field of /proc/PID/stat, counted behind the command's name; the 3rd is the state
STATE, START_TICKS = 0, 19
DEAD_STATES = "ZXx"


class ProcessId(msgspec.Struct, frozen=True):
    """One process, for ever: no other has the same three."""

    pid: int
    start_ticks: int
    boot_id: str


@dataclass(frozen=True, slots=True)
class PidFile:
    """Which process of ours runs. Written by the process itself, before it becomes another program."""

    path: Path

    def running(self) -> int | None:
        """The process id, where that very process runs. Raises `StartError`."""
        noted = self._read()
        return noted.pid if noted is not None and noted == identity_of(noted.pid) else None

    def write_own(self) -> None:
        """Notes this process. Raises `OSError`."""
        identity = identity_of(os.getpid())
        new = self.path.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(identity))
        new.replace(self.path)

    def stop(self, name: str, seconds: float) -> bool:
        """Ends the process as `stop_process` does. False: it did not run."""
        noted = self._read()
        if noted is None or not stop_process(noted, name, seconds):
            return False
        self.path.unlink(missing_ok=True)
        return True

    def _read(self) -> ProcessId | None:
        if not self.path.exists():
            return None
        try:
            return msgspec.json.decode(read_file(self.path), type=ProcessId)
        except msgspec.DecodeError:
            # Cut short by a full disk: then its process has never become an engine
            return None


def identity_of(pid: int) -> ProcessId | None:
    """A process that runs; None where none has this id, or where it is dead and not yet reaped."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The command's name may hold blanks and parentheses
    fields = stat.rpartition(")")[2].split()
    if fields[STATE] in DEAD_STATES:
        return None
    return ProcessId(pid, int(fields[START_TICKS]), BOOT_ID.read_text(encoding="ascii").strip())


def stop_process(process: ProcessId, name: str, seconds: float) -> bool:
    """Ends a process by SIGTERM, and waits for its end. False: it did not run.

    Raises `StartError` where it runs on: a kill could cost what it has not written yet.
    """
    try:
        descriptor = os.pidfd_open(process.pid)
    except OSError:
        return False
    try:
        # Compared after opening: the descriptor stays with the process, whoever gets its number
        if identity_of(process.pid) != process:
            return False
        signal.pidfd_send_signal(descriptor, signal.SIGTERM)
        if not select.select([descriptor], [], [], seconds)[0]:
            raise StartError(f"{name} (process {process.pid}) did not end in {seconds:g} s, and runs on")
    except OSError as error:
        raise StartError(f"{name} (process {process.pid}) cannot be stopped: {error.strerror}") from None
    finally:
        os.close(descriptor)
    return True


def start_process(
    command: Sequence[str], directory: Path, log_file: Path, pid_file: PidFile
) -> "subprocess.Popen[bytes]":
    """Starts a process in a session of its own, which a terminal's Ctrl-C does not reach.

    It notes itself before it becomes `command`: a caller that is killed leaves no process that nobody knows.
    Raises `StartError`.
    """
    try:
        with log_file.open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - the command is ours
                command,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=pid_file.write_own,
            )
    except (OSError, subprocess.SubprocessError) as error:
        raise StartError(f"cannot start {command[0]}: {getattr(error, 'strerror', error)}") from None
