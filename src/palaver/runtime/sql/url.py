"""Where a service's database is, by its setting."""

from pathlib import Path

from palaver.runtime.startup import StartError

SQLITE = "sqlite:///"


def database_file(url: str, default: Path, setting: str) -> Path:
    """The file of a `sqlite:///PATH`; `default` where `url` is empty.

    Raises `StartError`, which names `setting`: the URL itself may hold a password.
    """
    if not url:
        return default
    path = url.removeprefix(SQLITE)
    if path == url or not path:
        raise StartError(f"setting {setting}: only {SQLITE}PATH is known")
    return Path(path)
