"""The messenger's live part as a process of its own, which a test may kill.

`python -m tests.harness.messenger_process DATABASE PORT JWKS` serves the stream by gRPC, says `ready PORT`,
and stops in order on SIGTERM.
"""

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from palaver.contracts.messenger_pb2_grpc import add_MessengerServicer_to_server
from palaver.messenger.realtime.engine import Engine
from palaver.runtime.grpc.server import serving_grpc
from palaver.runtime.lifecycle import run_service
from palaver.runtime.settings import MessengerSettings
from palaver.runtime.sql.database import SqliteDatabase
from palaver.runtime.tokens import TokenVerifier
from tests.harness.messenger_database import MessengerDatabase
from tests.harness.realtime import HOST, AttachServicer


class MessengerProcess:
    """A messenger on a place's database that is started again on the same port."""

    def __init__(self, messenger_db: MessengerDatabase) -> None:
        self._place = messenger_db
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


async def serve(stopping: asyncio.Event) -> None:
    """Serves until told to stop."""
    file, port, jwks = sys.argv[1:]

    async def fetch() -> dict[str, Any]:
        return json.loads(jwks)  # type: ignore[no-any-return]

    database = SqliteDatabase(Path(file))
    engine = Engine(database, TokenVerifier(fetch), MessengerSettings(rates=False))
    async with serving_grpc(
        lambda server: add_MessengerServicer_to_server(AttachServicer(engine.attach), server),
        HOST,
        int(port),
        1.0,
    ) as (_, bound):
        await engine.start()
        sys.stdout.write(f"ready {bound}\n")
        sys.stdout.flush()
        await stopping.wait()
        await engine.stop()
    await database.close()


if __name__ == "__main__":
    run_service(serve)
