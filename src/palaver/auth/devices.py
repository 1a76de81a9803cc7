"""Devices that an account was signed in from: what tells one from another."""

import hashlib
import ipaddress
from enum import Enum

from palaver.auth.domain import Client


class Familiarity(Enum):
    """How much of a device an account has seen before."""

    DEVICE = "device"
    ADDRESS = "address"
    NOTHING = "nothing"


def traits_of(client: Client) -> dict[Familiarity, bytes]:
    """What is stored of a device: hashes of its address with its agent, and of its address alone."""
    address = address_key(client.address)
    # No address has a NUL, nor an agent that came in a header
    device = f"{address}\0{client.agent}"
    return {Familiarity.DEVICE: digest(device), Familiarity.ADDRESS: digest(address)}


def digest(text: str) -> bytes:
    """SHA-256."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def address_key(address: str) -> str:
    """Whom an address is counted for: a household has a whole /64 of IPv6 (RFC 6177)."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        # A scope names an interface of this machine, and is the sender's to choose
        return str(ipaddress.IPv6Network((int(found), 64), strict=False))
    return str(found)
