"""A migrator that is killed after each statement: `python -m tests.harness.killed_migrator SERVICE URL`.

Each run is a process of its own, and is killed at the first statement that writes and at which no earlier run
was killed. The last one comes to its end. Writes to stdout how many were killed.
"""

import asyncio
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import alembic.migration
import alembic.operations
import alembic.script  # noqa: F401 - imported once, and not in each process
from sqlalchemy import Engine, event

from palaver.auth.database import KIND as AUTH
from palaver.messenger.database import KIND as MESSENGER
from palaver.runtime.sql.database_file import DatabaseKind
from palaver.runtime.sql.locations import migrate_database
from palaver.runtime.sql.url import mysql_address

KINDS = {"auth": AUTH, "messenger": MESSENGER}
WRITING = ("CREATE", "ALTER", "DROP", "INSERT", "UPDATE", "DELETE")
MOST_RUNS = 100


def run_once(kind: DatabaseKind, url: str, known: Path) -> int:
    """The status of a run, as `os.waitpid` has it."""
    child = os.fork()
    if child == 0:
        event.listen(Engine, "after_cursor_execute", killer(known))
        asyncio.run(migrate_database(mysql_address(url, "url"), kind))
        os._exit(0)
    return os.waitpid(child, 0)[1]


def killer(known: Path) -> Any:
    """Kills this process after a statement that writes and is not known."""

    def listen(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        line = " ".join(statement.split())
        if line.startswith(WRITING) and line not in known.read_text().splitlines():
            with known.open("a") as file:
                file.write(f"{line}\n")
            os.kill(os.getpid(), signal.SIGKILL)

    return listen


def main(service: str, url: str) -> None:
    """Runs migrators until one is not killed."""
    with tempfile.TemporaryDirectory() as directory:
        known = Path(directory) / "statements"
        known.touch()
        for runs in range(MOST_RUNS):
            status = run_once(KINDS[service], url, known)
            if status == 0:
                sys.stdout.write(str(runs))
                return
            assert os.WIFSIGNALED(status), f"a migrator failed after {runs} runs"
    raise AssertionError("no end")


if __name__ == "__main__":
    main(*sys.argv[1:])
