"""Unix sockets: listening on one, whatever a killed process left there."""

import contextlib
import errno
import os
import socket
import stat
from pathlib import Path

SCHEME = "unix:"
# The kernel's `sun_path`, less the zero at its end
MOST_BYTES = 107


def listen_on_path(path: str) -> socket.socket:
    """A bound socket that its owner alone can connect to. Raises `OSError` where another process listens."""
    remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # Not a chmod behind it: between the two others could connect
    before = os.umask(0o177)
    try:
        listener.bind(path)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(before)
    listener.setblocking(False)
    return listener


def remove_stale(path: str) -> None:
    """Removes a socket that nobody listens on. Raises `OSError`: somebody does, or it is no socket."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OSError(errno.EADDRINUSE, f"{path} is no socket")
    except FileNotFoundError:
        return
    if is_served(path):
        raise OSError(errno.EADDRINUSE, f"address already in use: {path}")
    os.unlink(path)


def is_served(path: str) -> bool:
    """Whether somebody listens on a socket. Raises `OSError` where that cannot be found out."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return False
    return True


def remove_socket(path: str) -> None:
    """Removes a socket, where it is still there."""
    with contextlib.suppress(OSError):
        os.unlink(path)


def fits(path: Path) -> bool:
    """Whether a socket can have that path."""
    return len(os.fsencode(path)) <= MOST_BYTES
