"""Whose address a request comes from: the peer's, or the one that a trusted proxy names."""

import ipaddress
import re
from collections.abc import Iterable, Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

ANY = "*"
_SCHEMES = frozenset((b"http", b"https"))
# An address with or without brackets and a port
_HOP = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?|([0-9.]+):[0-9]{1,5}|([0-9A-Fa-f:.]+)")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class TrustedProxies:
    """Peers whose word on others' addresses is believed: addresses, networks, or `*`. Raises `ValueError`."""

    def __init__(self, trusted: Sequence[str]) -> None:
        self._are_all = ANY in trusted
        self._networks = [network_of(one) for one in trusted if one != ANY]

    def trusts(self, address: str) -> bool:
        """Whether the peer at an address is one of them."""
        if self._are_all:
            return True
        if not self._networks:
            return False
        plain = address_of(address)
        return bool(plain) and any(ipaddress.ip_address(plain) in network for network in self._networks)

    def client_address(self, peer: str, forwarded: Iterable[str]) -> str:
        """The client's address. `forwarded`: the values of `X-Forwarded-For`, in their order.

        Each proxy appends whom it got the request from: the last one that is no proxy of ours is the client.
        What is before that, anybody may have written; what is no address names nobody.
        """
        address = peer
        for hop in reversed(",".join(forwarded).split(",")):
            named = address_of(hop.strip()) if self.trusts(address) else ""
            if not named:
                break
            address = named
        return address


def network_of(text: str) -> Network:
    """An address or a network. Raises `ValueError`."""
    return ipaddress.ip_network(text, strict=False)


def address_of(text: str) -> str:
    """The address that a proxy wrote, in its one spelling; empty where it is none."""
    found = _HOP.fullmatch(text)
    try:
        address = ipaddress.ip_address(next(filter(None, found.groups()))) if found else None
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return str(address or "")


class ClientAddresses:
    """ASGI middleware: puts the client's address and scheme into the scope, as trusted proxies name them."""

    def __init__(self, app: ASGIApp, proxies: TrustedProxies) -> None:
        self._app = app
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        client = scope.get("client")
        if client and self._proxies.trusts(client[0]):
            forwarded = []
            for name, value in scope["headers"]:
                if name == b"x-forwarded-for":
                    forwarded.append(value.decode("latin-1"))
                elif name == b"x-forwarded-proto" and value in _SCHEMES:
                    scope["scheme"] = value.decode()
            if forwarded:
                scope["client"] = (self._proxies.client_address(client[0], forwarded), 0)
        await self._app(scope, receive, send)
