"""The deployment's secret: what its services prove to each other that they belong to it."""

import hmac
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from palaver.runtime.settings import SECRET, Settings
from palaver.runtime.startup import StartError

# Of HTTP requests, and of the metadata of gRPC calls. Masking knows the name as a secret's
HEADER = "palaver-secret"
# Where `palaver up` keeps the one that it made, in the data directory
FILE = "secret"
MADE_BYTES = 32


class DeploymentSecret:
    """Secrets, of which the first is sent and each is accepted: so one is changed without a pause.

    No text of it shows one.
    """

    __slots__ = ("_accepted", "sent")

    def __init__(self, texts: Sequence[str]) -> None:
        self.sent = texts[0]
        self._accepted = [text.encode() for text in texts]

    def __repr__(self) -> str:
        return "DeploymentSecret(***)"

    def accepts(self, given: bytes) -> bool:
        """Whether it is one of them. The time tells nothing of how much of it is right."""
        found = False
        for secret in self._accepted:
            found |= hmac.compare_digest(secret, given)
        return found


def secret_metadata(secret: str) -> tuple[tuple[str, str], ...]:
    """What a gRPC call carries of it; nothing where it is empty."""
    return ((HEADER, secret),) if secret else ()


def secret_of(settings: Settings, made_in: Path | None = None) -> DeploymentSecret:
    """The secret of the settings; else the one that `palaver up` has made in a data directory.

    Raises `StartError` where there is none.
    """
    if settings.secret:
        return DeploymentSecret([one.get_secret_value() for one in settings.secret])
    if settings.secret_file:
        return DeploymentSecret(read_secrets(Path(settings.secret_file), "secret_file"))
    if made_in is not None and (made_in / FILE).exists():
        return DeploymentSecret(read_secrets(made_in / FILE, "secret"))
    raise StartError("setting secret: is missing; services of one deployment need the same (or secret_file)")


def made_secret(data_dir: Path) -> str:
    """The secret of a data directory, made at its first start; its owner alone can read it.

    Raises `StartError`.
    """
    path = data_dir / FILE
    try:
        if not path.exists():
            write_secret(path, secrets.token_urlsafe(MADE_BYTES))
        path.chmod(0o600)
    except OSError as error:
        raise StartError(f"cannot write to data directory {data_dir}: {error.strerror}") from None
    return read_secrets(path, "secret")[0]


def write_secret(path: Path, secret: str) -> None:
    """Writes a secret that a crash leaves whole, or not there. Raises `OSError`."""
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    with open(new, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(f"{secret}\n".encode())
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def read_secrets(path: Path, setting: str) -> list[str]:
    """The secrets in a file, one a line. Raises `StartError`, which names none of them."""
    try:
        lines = path.read_text(encoding="ascii").split()
    except OSError as error:
        raise StartError(f"cannot read {path} ({setting}): {error.strerror}") from None
    except UnicodeDecodeError:
        lines = []
    if not lines or not all(map(SECRET.fullmatch, lines)):
        raise StartError(f"{path} ({setting}) holds no secret: 32 to 256 of A-Z a-z 0-9 _ . ~ + / = - a line")
    return lines
