"""The messenger's live part as a process of its own, which a test may kill.

`python -m tests.harness.messenger_process DATABASE PORT JWKS` serves the stream by gRPC, says `ready PORT`,
and stops in order on SIGTERM. Files beside the database steer it while it runs: `clock-offset` moves its wall
clock by so many seconds; while `hold-commits` exists, what is on disk is delivered to nobody, and
`commit-held` says that there is such a commit.
"""

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from palaver.contracts.messenger_pb2_grpc import add_MessengerServicer_to_server
from palaver.messenger.realtime.bus import LocalBus
from palaver.messenger.realtime.presence import InProcessPresence
from palaver.messenger.store.journal import Journal, Writes
from palaver.messenger.store.opening import open_store
from palaver.runtime.grpc.server import serving_grpc
from palaver.runtime.lifecycle import run_service
from palaver.runtime.settings import MessengerSettings
from palaver.runtime.tokens import TokenVerifier
from tests.harness.realtime import HOST, AttachOnly, Place, Replica


class MessengerProcess:
    """A messenger on a place's database that is started again on the same port."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._process: subprocess.Popen[str] | None = None
        self.port = 0

    def start(self) -> None:
        """Returns when it takes connections."""
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.harness.messenger_process",
                str(self._place.file),
                str(self.port),
                json.dumps(self._place.keys.jwks),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("ready "):
                self.port = int(line.split()[1])
                return
        raise AssertionError("the messenger did not start")

    def set_clock(self, seconds: int) -> None:
        """Moves its wall clock: so many seconds from the real one."""
        file = self._place.file.with_name("clock-offset")
        file.with_suffix(".new").write_text(str(seconds))
        file.with_suffix(".new").replace(file)

    def hold_commits(self, hold: bool) -> None:
        """From now on what is committed is not delivered; or it is again."""
        directory = self._place.file.parent
        if hold:
            (directory / "hold-commits").touch()
            return
        for name in ("hold-commits", "commit-held"):
            (directory / name).unlink(missing_ok=True)

    @property
    def has_held_commit(self) -> bool:
        """Whether something is on disk, and not delivered."""
        return (self._place.file.parent / "commit-held").exists()

    def stop(self, number: signal.Signals) -> None:
        """Ends it by a signal, and waits until it is gone."""
        assert self._process is not None
        self._process.send_signal(number)
        self._process.communicate()
        self._process = None

    @contextlib.contextmanager
    def running(self) -> Iterator["MessengerProcess"]:
        """Runs during the block."""
        self.start()
        try:
            yield self
        finally:
            if self._process is not None:
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
    """Makes this process's wall clock follow a file: what an administrator, or a bad time server, does to
    it."""
    real_ns = time.time_ns

    def moved_ns() -> int:
        return real_ns() + (int(file.read_text()) if file.exists() else 0) * 1_000_000_000

    time.time_ns = moved_ns
    time.time = lambda: moved_ns() / 1e9


async def serve(stopping: asyncio.Event) -> None:
    """Serves until told to stop."""
    file, port, jwks = sys.argv[1:]

    async def fetch() -> dict[str, Any]:
        return json.loads(jwks)  # type: ignore[no-any-return]

    directory = Path(file).parent
    move_clock(directory / "clock-offset")
    opened = open_store(Path(file))
    store = replace(opened, journal=HeldJournal(opened.journal, directory))
    presence = InProcessPresence(time.monotonic)
    settings = MessengerSettings(rates=False)
    replica = Replica(store, TokenVerifier(fetch), LocalBus(), presence, settings)
    async with serving_grpc(
        lambda server: add_MessengerServicer_to_server(AttachOnly(replica.attach), server),
        HOST,
        int(port),
        1.0,
    ) as (_, bound):
        await replica.start()
        sys.stdout.write(f"ready {bound}\n")
        sys.stdout.flush()
        await stopping.wait()
        await replica.stop()
    await store.close()


if __name__ == "__main__":
    run_service(serve)
