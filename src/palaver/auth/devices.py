"""Devices that an account was signed in from: what tells one from another."""

import hashlib
from enum import Enum

from palaver.auth.domain import Client
from palaver.runtime.addresses import address_key


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
