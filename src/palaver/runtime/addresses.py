"""Addresses of clients, as what they do is counted."""

import ipaddress
from functools import lru_cache


@lru_cache(4096)
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
