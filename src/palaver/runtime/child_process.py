"""Processes that another process starts, watches and stops."""

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

READY_SECONDS = 2.0
READY_PAUSE = 0.02
TAIL_BYTES = 16_384
PR_SET_PDEATHSIG = 1


@dataclass
class Child:
    """One process. `host` and `port` serve its `GET /readyz`; `stop_seconds` bounds its draining.

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
    process: "subprocess.Popen[bytes] | None" = None
    exited: "asyncio.Task[int] | None" = None
    log_start: int = 0
    log_inode: int = 0

    def start(self) -> None:
        """Starts it in a session of its own: a terminal's Ctrl-C is not for it. Raises `OSError`."""
        with open_log(self.log_file) as log:
            self.log_start = log.seek(0, os.SEEK_END)
            self.log_inode = os.fstat(log.fileno()).st_ino
            self.process = subprocess.Popen(  # noqa: S603 - the command is ours
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                start_new_session=True,
                pass_fds=() if self.keeps_open is None else (self.keeps_open,),
            )
        self.exited = asyncio.create_task(asyncio.to_thread(self.process.wait))

    async def wait_exit(self) -> int:
        """Its exit code once it is gone; negative: the signal that ended it."""
        if self.exited is None:
            raise RuntimeError(f"{self.name} was not started")
        # Shielded, because `stop` waits for the same task
        return await asyncio.shield(self.exited)

    async def wait_ready(self) -> None:
        """Returns when the child's `/readyz` is 200."""
        while not await is_ready(self.host, self.port):  # noqa: ASYNC110 - another process sets no Event
            await asyncio.sleep(READY_PAUSE)

    async def stop(self, hurry: asyncio.Event) -> bool:
        """SIGTERM, then SIGKILL after `stop_seconds`, or as soon as `hurry` is set. False: it was killed."""
        if self.process is None or self.exited is None or self.exited.done():
            return True
        self.process.terminate()
        hurried = asyncio.create_task(hurry.wait())
        await asyncio.wait(
            {self.exited, hurried}, timeout=self.stop_seconds, return_when=asyncio.FIRST_COMPLETED
        )
        hurried.cancel()
        if self.exited.done():
            return True
        self.process.kill()
        await self.exited
        return False

    def log_tail(self, lines: int = 15) -> str:
        """The last lines that the child wrote since it was started: where it has begun a new file since then,
        also those of the one before."""
        tail = b""
        for path in (self.log_file, self.log_file.with_name(f"{self.log_file.name}.1")):
            found, is_first = self._end_of(path)
            tail = found + tail
            if is_first or tail.count(b"\n") >= lines:
                break
        return "\n".join(tail.decode(errors="replace").splitlines()[-lines:])

    def _end_of(self, path: Path) -> tuple[bytes, bool]:
        """The end of a file, no further back than the child's start; and whether the child began with it."""
        try:
            with path.open("rb") as log:
                is_first = os.fstat(log.fileno()).st_ino == self.log_inode
                end = log.seek(0, os.SEEK_END)
                # A log that was cut meanwhile is shorter than it was
                start = self.log_start if is_first and self.log_start <= end else 0
                log.seek(max(start, end - TAIL_BYTES))
                return log.read(), is_first
        except FileNotFoundError:
            return b"", True


def open_log(path: Path) -> BinaryIO:
    """The file, for appending. Raises `OSError`."""
    return path.open("ab")


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
