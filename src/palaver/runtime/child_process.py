"""Processes that another process starts, watches and stops."""

import asyncio
import ctypes
import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from palaver.runtime.log_tail import LogTail

READY_SECONDS = 2.0
READY_PAUSE = 0.02
PROBE_SECONDS = 0.05
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Child:
    """A process to run. `host` and `port` serve its `GET /readyz`; `stop_seconds` bounds its draining.

    `keeps_open` is a file descriptor that it inherits: a lock is held until the last child is gone.
    """

    name: str
    command: Sequence[str]
    log_file: Path
    host: str
    port: int
    stop_seconds: float
    environment: Mapping[str, str] = field(default_factory=dict)
    keeps_open: int | None = None


class ChildProcess:
    """One run of a child, in a session of its own: a terminal's Ctrl-C is not for it.

    Starts within a running event loop. Raises `OSError`.
    """

    def __init__(self, child: Child) -> None:
        self._child = child
        with open_log(child.log_file) as log:
            self.log_tail = LogTail(child.log_file, log.seek(0, os.SEEK_END), os.fstat(log.fileno()).st_ino)
            self._process = subprocess.Popen(  # noqa: S603 - the command is ours
                child.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=child.environment,
                start_new_session=True,
                pass_fds=() if child.keeps_open is None else (child.keeps_open,),
            )
        self._exited = asyncio.create_task(asyncio.to_thread(self._process.wait))

    async def wait_exit(self) -> int:
        """Its exit code once it is gone; negative: the signal that ended it."""
        # Shielded, because `stop` waits for the same task
        return await asyncio.shield(self._exited)

    async def wait_ready(self) -> None:
        """Returns when the child's `/readyz` is 200."""
        host, port = self._child.host, self._child.port
        # Nobody listens while it starts, and a refused connection is the cheapest question: services that
        # start need the time
        while not is_listened_on(host, port):  # noqa: ASYNC110 - another process sets no Event
            await asyncio.sleep(READY_PAUSE)
        while not await is_ready(host, port):  # noqa: ASYNC110 - as above
            await asyncio.sleep(READY_PAUSE)

    async def stop(self, hurry: asyncio.Event) -> bool:
        """SIGTERM, then SIGKILL after `stop_seconds`, or as soon as `hurry` is set. False: it was killed."""
        if self._exited.done():
            return True
        self._process.terminate()
        hurried = asyncio.create_task(hurry.wait())
        await asyncio.wait(
            {self._exited, hurried}, timeout=self._child.stop_seconds, return_when=asyncio.FIRST_COMPLETED
        )
        hurried.cancel()
        if self._exited.done():
            return True
        self._process.kill()
        await self._exited
        return False


def open_log(path: Path) -> BinaryIO:
    """The file, for appending. Raises `OSError`."""
    return path.open("ab")


def is_listened_on(host: str, port: int) -> bool:
    """Whether a port of this machine takes connections. Of another address it is not known: True."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        # This machine refuses at once
        probe.settimeout(PROBE_SECONDS)
        try:
            return probe.connect_ex((host, port)) != errno.ECONNREFUSED
        except OSError:
            # A name that nobody knows
            return True


async def is_ready(host: str, port: int) -> bool:
    """Whether `GET /readyz` is answered 200."""
    try:
        async with asyncio.timeout(READY_SECONDS):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                request = f"GET /readyz HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n"
                writer.write(request.encode())
                status = await reader.readline()
            finally:
                writer.close()
    except (OSError, ValueError):
        # Not there yet, or going away; asyncio's time-out is an OSError too
        return False
    return status.split()[1:2] == [b"200"]


def die_with_parent(parent: int) -> None:
    """Ends this process by SIGKILL when `parent`, who started it, is gone (Linux; elsewhere it lives on).

    Otherwise a killed `palaver up` would leave services behind that hold its ports and databases.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        # It went before the line above
        sys.exit(1)
