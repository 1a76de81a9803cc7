"""Where replicas are: the entries of a setting, and the addresses that they stand for."""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from palaver.runtime.unix_sockets import SCHEME

SEPARATOR = ","
DEFAULT_PORTS = {"http": 80, "https": 443}
# gRPC's own way to write a name
DNS_PREFIX = "dns:///"


class Entry(NamedTuple):
    """One entry of a setting.

    `scheme`: of a URL; empty for gRPC. `path`: of a Unix socket, in place of host and port; for a URL, what
    all its paths begin with.
    """

    scheme: str
    host: str
    port: int
    path: str

    @property
    def is_name(self) -> bool:
        """Whether DNS has the addresses."""
        if not self.host:
            return False
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return True
        return False


class Address(NamedTuple):
    """One replica. `text`: as logs, metrics and gRPC have it. `host`: an address, empty for a Unix socket."""

    text: str
    entry: Entry
    host: str

    @property
    def authority(self) -> str:
        """Host and port as the setting names them: what a proxy in between goes by."""
        return joined(self.entry.host, self.entry.port) if self.entry.host else "localhost"

    @property
    def base_url(self) -> str:
        """What the URLs of requests begin with."""
        entry = self.entry
        if not entry.host:
            # The host is of no meaning there
            return "http://localhost"
        return f"{entry.scheme}://{joined(self.host, entry.port)}{entry.path}"


def joined(host: str, port: int) -> str:
    """Host and port in one."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def read_entries(text: str) -> list[Entry]:
    """The entries of a setting, in its order. Raises `ValueError` that names the one that is wrong."""
    entries = [read_entry(one.strip()) for one in text.split(SEPARATOR) if one.strip()]
    if not entries:
        raise ValueError("names no address")
    return list(dict.fromkeys(entries))


def read_entry(text: str) -> Entry:
    """One entry: `host:port`, a URL, or `unix:` and a path. Raises `ValueError`."""
    if text.startswith(SCHEME):
        path = text.removeprefix(SCHEME)
        if not path:
            raise ValueError(f"{text} has no path")
        return Entry("", "", 0, path)
    plain = text.removeprefix(DNS_PREFIX)
    is_url = "://" in plain
    parts = urlsplit(plain if is_url else f"//{plain}")
    if is_url and parts.scheme not in DEFAULT_PORTS:
        raise ValueError(f"{text} is no http or https URL")
    try:
        port = parts.port or DEFAULT_PORTS.get(parts.scheme, 0)
    except ValueError:
        port = 0
    if not parts.hostname or not port:
        raise ValueError(f"{text} is no host and port")
    if parts.username is not None or parts.query or (parts.path and not is_url):
        raise ValueError("has more than host and port")
    return Entry(parts.scheme, parts.hostname, port, parts.path.rstrip("/"))


def address_at(entry: Entry, host: str) -> Address:
    """An entry's address at a host that DNS gave, or at its own."""
    if not entry.host:
        return Address(SCHEME + entry.path, entry, "")
    return Address(joined(host, entry.port), entry, host)


async def look_up(entry: Entry) -> Sequence[Address]:
    """All addresses of an entry's name, in their order. Raises `OSError`.

    Of IPv4 alone where the name has such: a replica that has both families would be there twice.
    """
    if not entry.is_name:
        return [address_at(entry, entry.host)]
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(entry.host, entry.port, type=socket.SOCK_STREAM)
    families = {family for family, *_ in found}
    family = socket.AF_INET if socket.AF_INET in families else socket.AF_INET6
    hosts = sorted({str(place[0]) for one, _, _, _, place in found if one == family})
    return [address_at(entry, host) for host in hosts]
