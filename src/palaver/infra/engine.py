"""What each engine that runs as a native process is to the commands."""

import pwd
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from palaver.infra.files import make_directory, read_file, write_file
from palaver.infra.processes import PidFile
from palaver.infra.topology import Address
from palaver.runtime.startup import StartError

VERSION_FILE = "version"
VERSION = re.compile(r"\d+\.\d+(?:\.\d+)*")


class NotReadyError(Exception):
    """An engine does not answer yet, or not with its password. The text is its own."""


@dataclass(frozen=True, slots=True)
class Place:
    """An engine's own part of the machine: its directory, and its ports."""

    name: str
    directory: Path
    address: Address

    @property
    def data(self) -> Path:
        """Where its data is."""
        return self.directory / "data"

    @property
    def log_file(self) -> Path:
        """What it prints."""
        return self.directory / "output.log"

    @property
    def pid_file(self) -> PidFile:
        """Which process it is."""
        return PidFile(self.directory / "process.json")

    def make_directories(self, *names: str) -> None:
        """Makes its directories. Raises `StartError`."""
        for path in (self.directory, self.data, *(self.directory / name for name in names)):
            make_directory(path)


class Engine(Protocol):
    """One native server."""

    @property
    def place(self) -> Place:
        """Where it is."""

    @property
    def stop_seconds(self) -> float:
        """How long it may take to write what it has in memory."""

    def prepare(self) -> list[str]:
        """Writes its configuration, and at the first start its system tables. Returns its command.

        Raises `StartError`.
        """

    def installed_version(self) -> str:
        """The version of the program. Raises `StartError`."""

    def ask_version(self) -> str:
        """The version of the server that answers with its passwords. Raises `NotReadyError`."""


def check_version(place: Place, installed: str, *, same_series: bool) -> None:
    """Raises `StartError` where another release has written the data than can read it.

    `same_series`: only the same major and minor can; otherwise each newer one too.
    """
    path = place.directory / VERSION_FILE
    if not path.exists():
        return
    written = read_file(path).strip()
    old, new = numbers_of(written), numbers_of(installed)
    if old == new or (old < new and not same_series):
        return
    raise StartError(
        f"{place.name}: the data in {place.data} is of version {written}, and {installed} is installed: "
        f"install {written}, or upgrade the data"
    )


def note_version(place: Place, version: str) -> None:
    """Notes which release writes the data from now on. Raises `StartError`."""
    path = place.directory / VERSION_FILE
    if not path.exists() or read_file(path).strip() != version:
        write_file(path, f"{version}\n")


def numbers_of(version: str) -> tuple[int, ...]:
    """The major and minor number: the rest changes no format of data."""
    found = VERSION.search(version)
    return tuple(int(part) for part in found[0].split(".")[:2]) if found else ()


def version_in(text: str) -> str:
    """The first version in a text; the text where it has none."""
    found = VERSION.search(text)
    return found[0] if found else text.strip()


def check_owner(directory: Path, user: int) -> None:
    """Raises `StartError` for a directory of somebody else: its files would get two owners."""
    try:
        owner = directory.stat().st_uid
    except (FileNotFoundError, NotADirectoryError):
        # Whoever makes it says so
        return
    except OSError as error:
        raise StartError(f"cannot read directory {directory}: {error.strerror}") from None
    if owner != user:
        try:
            name = pwd.getpwuid(owner).pw_name
        except KeyError:
            name = str(owner)
        raise StartError(f"directory {directory} is of user {name}: run this as {name}")
