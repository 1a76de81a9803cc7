"""A lock that lets one command at a time use a data directory."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from palaver.runtime.startup import StartError, make_data_directory

FILE = "palaver.lock"
# How long the services of a killed `palaver up` may take to be gone.
LOCK_SECONDS = 2.0


@contextlib.contextmanager
def lock_directory(path: Path, command: str = "palaver up") -> Iterator[int]:
    """Makes a data directory, and keeps others off it during the block. Yields the lock's file descriptor.

    `command`: who takes it, for the error. Raises `StartError`.
    """
    make_data_directory(path)
    try:
        lock = os.open(path / FILE, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StartError(f"cannot write to data directory {path}: {error.strerror}") from None
    try:
        if not take_lock(lock):
            owner = os.pread(lock, 20, 0).decode(errors="replace").strip()
            raise StartError(f"data directory {path} is in use by another `{command}` (process {owner})")
        try:
            os.truncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            raise StartError(f"cannot write to data directory {path}: {error.strerror}") from None
        yield lock
    finally:
        os.close(lock)


def take_lock(lock: int) -> bool:
    """Whether the lock could be had in time."""
    end = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                return False
            time.sleep(0.02)
        else:
            return True


def lock_owner(path: Path) -> int | None:
    """The process that has a data directory; None where nobody has it. Raises `StartError`."""
    try:
        lock = os.open(path / FILE, os.O_RDONLY)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StartError(f"cannot read {path / FILE}: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(lock, 20, 0).decode(errors="replace").strip()
        return int(text) if text.isdecimal() else None
    else:
        return None
    finally:
        os.close(lock)
