"""How a service's process runs."""

import subprocess
import sys

SHOW_LIMITS = """
import asyncio, resource
from palaver.runtime.lifecycle import run_service

async def serve(stopping: asyncio.Event) -> None:
    print(*resource.getrlimit(resource.RLIMIT_NOFILE))

resource.setrlimit(resource.RLIMIT_NOFILE, (128, 512))
run_service(serve)
"""


def test_a_service_may_open_as_many_files_as_it_is_allowed() -> None:
    """1,024 clients, the soft limit of most shells, would shut the door though the machine allows more."""
    done = subprocess.run(
        [sys.executable, "-c", SHOW_LIMITS], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout.split() == ["512", "512"], done.stderr
