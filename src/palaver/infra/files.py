"""Files of the infrastructure's directory: written whole, and made from templates."""

import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from string import Template

from palaver.runtime.startup import StartError

PRIVATE = 0o600


def write_file(path: Path, text: str, mode: int = PRIVATE) -> None:
    """Writes a file that a crash leaves whole: the old one or the new one. Raises `StartError`."""
    new = path.with_name(path.name + ".new")
    try:
        new.unlink(missing_ok=True)
        with open(new, "xb", opener=lambda name, flags: os.open(name, flags, PRIVATE)) as file:
            file.write(text.encode())
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        raise StartError(f"cannot write {path}: {error.strerror}") from None


def read_file(path: Path) -> str:
    """A file's text. Raises `StartError`."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise StartError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise StartError(f"cannot read {path}: it is no text") from None


def make_directory(path: Path) -> Path:
    """A directory that its owner alone can enter; made where it is missing. Raises `StartError`."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.chmod(0o700)
    except OSError as error:
        reason = "Not a directory" if isinstance(error, FileExistsError) else error.strerror
        raise StartError(f"cannot write to directory {path}: {reason}") from None
    return path


def make_local(path: Path, comment: str) -> Path:
    """A file for an operator's own lines, which no later start overwrites. Raises `StartError`."""
    if not path.exists():
        write_file(path, comment)
    return path


def packaged(name: str) -> str:
    """The path of a file that comes with the package."""
    return str(resources.files("palaver.infra") / name)


def rendered(template: str, values: Mapping[str, object]) -> str:
    """A template of `deploy/engines` with its values."""
    text = Path(packaged("engines")) / template
    return Template(text.read_text(encoding="utf-8")).substitute(values)
