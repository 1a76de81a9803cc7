"""The messenger's engine, alone or with a gateway's sockets, as a process that a test may kill or measure.

`python -m tests.harness.realtime_process PART DIRECTORY KEYS PORT` runs the part `messenger` or `sockets` on
the database in DIRECTORY, and prints `ready PORT`. KEYS is `Keys.hex`. The messenger listens on PORT, 0 being
any. Files in DIRECTORY steer it while it runs: `clock-offset` moves its wall clock by so many seconds; while
`hold-commits` exists, what is on disk is delivered to nobody, and `commit-held` shows that there is such a
commit.
"""

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from palaver.messenger.store.journal import Journal, Writes
from palaver.runtime.lifecycle import run_service
from palaver.runtime.settings.telemetry import TelemetrySettings
from palaver.runtime.telemetry.configuration import configure_telemetry
from tests.harness.keys import Keys
from tests.harness.messenger_database import MessengerDatabase
from tests.harness.processes import ChildProcess
from tests.harness.realtime import running_gateway, serving_replica


class RealtimeProcess:
    """A process on a messenger's database. Each start listens on the messenger port of the first."""

    def __init__(self, messenger_db: MessengerDatabase, part: str = "messenger") -> None:
        self._part = part
        self._directory = messenger_db.file.parent
        self._keys = messenger_db.keys
        self._child: ChildProcess | None = None
        self.port = 0

    @property
    def process(self) -> ChildProcess:
        """The process that runs now."""
        assert self._child is not None, f"no {self._part} runs"
        return self._child

    def start(self) -> None:
        """Returns when it takes connections."""
        module = (sys.executable, "-m", "tests.harness.realtime_process")
        self._child = ChildProcess.start(
            [*module, self._part, str(self._directory), self._keys.hex, str(self.port)],
            self._directory / f"{self._part}.out",
        )
        self.port = int(self._child.wait_for(r"^ready (\d+)$")[1])

    def set_clock(self, seconds: int) -> None:
        """Moves its wall clock: so many seconds from the real one."""
        new = self._directory / "clock-offset.new"
        new.write_text(str(seconds))
        new.replace(self._directory / "clock-offset")

    def hold_commits(self, hold: bool) -> None:
        """From now on what is committed is not delivered; or it is again."""
        if hold:
            (self._directory / "hold-commits").touch()
            return
        for name in ("hold-commits", "commit-held"):
            (self._directory / name).unlink(missing_ok=True)

    @property
    def has_held_commit(self) -> bool:
        """Whether something is on disk, and not delivered."""
        return (self._directory / "commit-held").exists()

    def stop(self, number: signal.Signals) -> None:
        """Ends it by a signal, and waits until it is gone."""
        self.process.stop(number)
        self._child = None

    @contextlib.contextmanager
    def running(self) -> Iterator["RealtimeProcess"]:
        """Runs during the block."""
        try:
            self.start()
            yield self
        finally:
            if self._child is not None:
                self.stop(signal.SIGKILL)


class HeldJournal:
    """A journal whose commits are on disk, and answered only when nothing holds them."""

    def __init__(self, journal: Journal, directory: Path) -> None:
        self._journal = journal
        self._directory = directory

    async def write(self, writes: Writes) -> None:
        """See `Journal.write`."""
        await self._journal.write(writes)
        while writes.sends and (self._directory / "hold-commits").exists():
            (self._directory / "commit-held").touch()
            await asyncio.sleep(0.01)


def move_clock(file: Path) -> None:
    """Makes this process's wall clock follow a file, as it follows an administrator or a bad time server."""
    real_ns = time.time_ns

    def moved_ns() -> int:
        return real_ns() + (int(file.read_text()) if file.exists() else 0) * 1_000_000_000

    time.time_ns = moved_ns
    time.time = lambda: moved_ns() / 1e9


@contextlib.asynccontextmanager
async def serving(part: str, messenger_db: MessengerDatabase, port: int) -> AsyncIterator[int]:
    """The port of a part that serves during the block."""
    directory = messenger_db.file.parent
    move_clock(directory / "clock-offset")
    hold = (lambda journal: HeldJournal(journal, directory)) if part == "messenger" else None
    async with serving_replica(messenger_db, port, hold=hold) as (_, bound):
        if part == "messenger":
            yield bound
            return
        configure_telemetry("sockets", TelemetrySettings(log_to="file"), messenger_db.file.parent)
        async with running_gateway(messenger_db.keys, bound, sockets_per_user=1_000) as gateway:
            yield gateway.port


async def run(stopping: asyncio.Event) -> None:
    """Serves until `stopping` is set."""
    part, directory, keys, port = sys.argv[1:]
    messenger_db = MessengerDatabase(Path(directory), Keys.from_hex(keys))
    async with serving(part, messenger_db, int(port)) as bound:
        sys.stdout.write(f"ready {bound}\n")
        sys.stdout.flush()
        await stopping.wait()
    messenger_db.close()


if __name__ == "__main__":
    run_service(run)
