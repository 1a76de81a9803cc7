"""Processes that outlive the command that starts them."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from palaver.infra.processes import PidFile, ProcessId, identity_of, start_process
from palaver.runtime.startup import StartError

SLEEP = [sys.executable, "-c", "import time; time.sleep(100)"]
IGNORE = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(100)"
)


def test_a_process_is_recognised_and_stopped(tmp_path: Path) -> None:
    """A second start would start a second server on the same data, or none could be stopped."""
    pid_file = PidFile(tmp_path / "process.json")
    assert pid_file.running() is None
    process = start_process(SLEEP, tmp_path, tmp_path / "log", pid_file)
    assert pid_file.running() == process.pid
    assert os.getsid(process.pid) == process.pid
    assert pid_file.stop("sleep", 30.0)
    process.wait()
    assert pid_file.running() is None
    assert not pid_file.stop("sleep", 30.0)


@pytest.mark.parametrize("change", [{"start_ticks": 1}, {"boot_id": "before"}])
def test_a_process_with_the_same_number_is_another(tmp_path: Path, change: dict[str, object]) -> None:
    """After a reboot `palaver infra down` would end a stranger's process."""
    foreign = subprocess.Popen(SLEEP)
    try:
        own = identity_of(foreign.pid)
        assert own is not None
        pid_file = PidFile(tmp_path / "process.json")
        pid_file.path.write_bytes(msgspec.json.encode(msgspec.structs.replace(own, **change)))
        assert pid_file.running() is None
        assert not pid_file.stop("foreign", 1.0)
        assert foreign.poll() is None
    finally:
        foreign.kill()
        foreign.wait()


def test_a_dead_process_that_nobody_reaped_does_not_run() -> None:
    """An engine that has died would be taken for one that runs."""
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert identity_of(process.pid) is None
    process.wait()


def test_a_pid_file_that_was_cut_short_names_nobody(tmp_path: Path) -> None:
    """A full disk would keep an engine from ever starting again."""
    (tmp_path / "process.json").write_text('{"pid": 1')
    assert PidFile(tmp_path / "process.json").running() is None


def test_what_does_not_end_is_named_and_not_killed(tmp_path: Path) -> None:
    """A kill would cost a database what it has not written yet."""
    process = subprocess.Popen([sys.executable, "-c", IGNORE], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        own = identity_of(process.pid)
        pid_file = PidFile(tmp_path / "process.json")
        pid_file.path.write_bytes(msgspec.json.encode(own))
        with pytest.raises(StartError, match=rf"slow \(process {process.pid}\) did not end in 0.1 s"):
            pid_file.stop("slow", 0.1)
        assert pid_file.running() == process.pid
    finally:
        process.kill()
        process.communicate()


def test_a_program_that_is_missing_is_named(tmp_path: Path) -> None:
    """An operator would read a traceback."""
    with pytest.raises(StartError, match="cannot start /no/such: No such file or directory"):
        start_process(["/no/such"], tmp_path, tmp_path / "log", PidFile(tmp_path / "process.json"))


def test_identities_differ_between_processes() -> None:
    """One engine's file would name another engine."""
    own = identity_of(os.getpid())
    assert isinstance(own, ProcessId)
    assert own != identity_of(os.getppid())
