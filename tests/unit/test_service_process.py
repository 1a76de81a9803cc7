"""A service as a child of `palaver up`."""

import os
import subprocess
import sys
from pathlib import Path

from palaver.runtime.startup import FINAL_CODE


def run_child(name: str, data_dir: Path) -> "subprocess.CompletedProcess[str]":
    """A service of this process, until it ends by itself."""
    return subprocess.run(
        [sys.executable, "-m", "palaver", name, "--with-parent", str(os.getpid())],
        env={**os.environ, "PALAVER_DATA_DIR": str(data_dir), "PALAVER_SECRET": "s" * 40},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_what_no_restart_mends_is_one_line_and_a_code_of_its_own(tmp_path: Path) -> None:
    """`palaver up` would start it again and again, and its operator would read tracebacks."""
    (tmp_path / "file").touch()
    done = run_child("auth", tmp_path / "file")
    assert done.returncode == FINAL_CODE
    assert done.stderr == f"palaver: cannot write to data directory {tmp_path}/file: Not a directory\n"


def test_a_child_without_its_parent_ends_at_once(tmp_path: Path) -> None:
    """A service would hold the ports and databases of a `palaver up` that was killed while it started."""
    command = [sys.executable, "-m", "palaver", "auth", "--with-parent", "1"]
    environment = {**os.environ, "PALAVER_DATA_DIR": str(tmp_path), "PALAVER_SECRET": "s" * 40}
    done = subprocess.run(command, env=environment, timeout=60, check=False)
    assert done.returncode == 1
