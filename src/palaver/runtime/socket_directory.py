"""The private directory of a machine's Unix sockets."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from palaver.runtime.startup import StartError
from palaver.runtime.unix_sockets import fits, is_served

# In the data directory: the sockets, or, where that path is too long for them, a link to where they are
NAME = "sockets"
LONGEST_NAME = "messenger-64.sock"


@contextlib.contextmanager
def socket_directory(data_dir: Path) -> Iterator[Path]:
    """A directory for sockets during the block, that its owner alone can enter. Removes what a killed process
    left. Raises `StartError`."""
    entry = data_dir / NAME
    try:
        remove(entry)
        made = make_directory(entry)
    except OSError as error:
        raise StartError(f"cannot make {entry}: {error.strerror}") from None
    try:
        yield made
    finally:
        with contextlib.suppress(OSError):
            remove(entry)


def make_directory(entry: Path) -> Path:
    """The directory: `entry`, or one with a short path, to which `entry` leads the next start."""
    if fits(entry / LONGEST_NAME):
        entry.mkdir(mode=0o700)
        entry.chmod(0o700)
        return entry
    for place in (os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir(), "/tmp"):  # noqa: S108 - mkdtemp
        # As long as what mkdtemp makes
        if not place or not fits(Path(place) / "palaver-12345678" / LONGEST_NAME):
            continue
        with contextlib.suppress(OSError):
            made = Path(tempfile.mkdtemp(prefix="palaver-", dir=place))
            entry.symlink_to(made)
            return made
    raise OSError(0, "its path is too long for sockets, and there is no other place")


def remove(entry: Path) -> None:
    """Removes the directory and, where `entry` leads elsewhere, what it leads to. Raises `OSError`."""
    if entry.is_symlink():
        target = entry.readlink()
        # What somebody else put there is not ours to remove; nor are the sockets of a running Palaver, of
        # whose data directory this one is a copy
        if target.is_absolute() and target.name.startswith("palaver-") and not is_in_use(target):
            shutil.rmtree(target, ignore_errors=True)
        entry.unlink()
    elif entry.exists():
        shutil.rmtree(entry)


def is_in_use(directory: Path) -> bool:
    """Whether somebody listens on a socket in a directory."""
    for path in directory.glob("*.sock"):
        with contextlib.suppress(OSError):
            if is_served(str(path)):
                return True
    return False
