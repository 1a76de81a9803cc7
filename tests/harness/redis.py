"""A real Redis for a test: Debian's `redis-server` on a free port, with a password, and no file of its own.

A test that only uses it takes the session's. One that kills, stops or restarts it runs its own.
"""

import contextlib
import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import redis

from palaver.runtime.redis.client import RedisClient
from palaver.runtime.redis.url import redis_address
from tests.harness.nginx import free_port
from tests.harness.processes import ChildProcess
from tests.harness.waiting import wait_until

PASSWORD = "a-password-that-no-log-may-show"
PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))


class RedisServer:
    """A Redis. Each start listens on the port of the first."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.port = free_port()
        self._child: ChildProcess | None = None

    @property
    def url(self) -> str:
        """Its address with the password, for settings."""
        return f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Returns when it answers."""
        program = shutil.which("redis-server", path=PATH)
        assert program, "redis-server is missing: `make test` installs it"
        words = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "requirepass": PASSWORD,
            "save": "",
            "appendonly": "no",
            "dir": str(self._directory),
        }
        options = [part for name, value in words.items() for part in (f"--{name}", value)]
        self._child = ChildProcess.start([program, *options], self._directory / "redis.log")
        wait_until(self._answers, "an answer of Redis")

    def _answers(self) -> bool:
        try:
            return bool(self.command("PING"))
        except redis.ConnectionError:
            assert self._child is not None
            assert self._child.process.poll() is None, self._child.output
            return False

    def command(self, *words: Any) -> Any:
        """The reply to one command, on a connection of its own."""
        with contextlib.closing(redis.Redis(port=self.port, password=PASSWORD)) as client:
            return client.execute_command(*words)

    def send_signal(self, number: signal.Signals) -> None:
        """Stops it for a while, or lets it go on."""
        assert self._child is not None
        self._child.process.send_signal(number)

    def kill(self) -> None:
        """Kills it."""
        assert self._child is not None
        self._child.stop(signal.SIGKILL)

    def kill_connections(self) -> None:
        """Cuts off all clients."""
        for kind in ("pubsub", "normal"):
            self.command("CLIENT", "KILL", "TYPE", kind)


@contextlib.contextmanager
def running_redis(directory: Path) -> Iterator[RedisServer]:
    """A Redis for the block, which a test may kill."""
    server = RedisServer(directory)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextlib.asynccontextmanager
async def redis_client(server: RedisServer) -> AsyncIterator[RedisClient]:
    """A client as services have it."""
    client = RedisClient(redis_address(server.url, "redis_url"))
    await client.open("redis_url")
    try:
        yield client
    finally:
        await client.close()
