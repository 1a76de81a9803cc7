"""Where the services of `palaver up` listen: a file in the data directory, for commands run beside them."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from palaver.runtime.settings import Settings
from palaver.runtime.startup import StartError

FILE = "addresses.json"


class ServiceAddresses(msgspec.Struct, frozen=True):
    """Base URLs of HTTP, and the messenger's gRPC target. `gateway_private`: where its metrics are."""

    gateway: str
    auth: str
    messenger: str
    messenger_grpc: str
    gateway_private: str


@contextlib.contextmanager
def published_addresses(data_dir: Path, addresses: ServiceAddresses) -> Iterator[None]:
    """Keeps the file there during the block, readable by its owner alone. Raises `StartError`."""
    path = data_dir / FILE
    new = path.with_suffix(".new")
    try:
        # Readers see the old file or the new one, never half of it
        with open(new, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(msgspec.json.encode(addresses) + b"\n")
        new.replace(path)
    except OSError as error:
        raise StartError(f"cannot write to data directory {data_dir}: {error.strerror}") from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def messenger_target(settings: Settings) -> str:
    """The messenger's gRPC target: of the `palaver up` on this data directory, or else the gateway's setting.

    Raises `StartError` where the file can't be read.
    """
    path = settings.data_dir / FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=ServiceAddresses).messenger_grpc
    except FileNotFoundError:
        return settings.gateway.messenger_target
    except OSError as error:
        raise StartError(f"cannot read {path}: {error.strerror}") from None
    except msgspec.DecodeError:
        raise StartError(f"cannot read {path}: it is none of `palaver up`") from None
