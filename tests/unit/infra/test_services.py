"""Services that run on the engines."""

import subprocess
import sys
from pathlib import Path

import pytest

from palaver.infra.services import stop_services
from palaver.runtime.directory_lock import lock_owner
from tests.harness.waiting import wait_until

HOLD = """
import sys, time
from pathlib import Path
from palaver.runtime.directory_lock import lock_directory
with lock_directory(Path(sys.argv[2])):
    time.sleep(100)
"""


@pytest.mark.parametrize(("command", "stopped"), [("service", True), ("up", False)])
def test_down_stops_the_services_on_the_engines_alone(tmp_path: Path, command: str, stopped: bool) -> None:
    """Services would lose their engines under their feet, or an embedded Palaver would be ended."""
    holder = subprocess.Popen([sys.executable, "-c", HOLD, command, str(tmp_path)])
    said: list[str] = []
    try:
        wait_until(lambda: lock_owner(tmp_path) == holder.pid, "the lock is held")
        stop_services(tmp_path, said.append)
        assert (len(said), lock_owner(tmp_path) is None) == (stopped, stopped)
    finally:
        holder.kill()
        holder.wait()


def test_without_services_there_is_nothing_to_stop(tmp_path: Path) -> None:
    """`palaver infra down` would fail after a power cut."""
    stop_services(tmp_path, pytest.fail)
    (tmp_path / "palaver.lock").write_text("1\n")
    stop_services(tmp_path, pytest.fail)
