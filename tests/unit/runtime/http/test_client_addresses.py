"""Whose address a request comes from."""

from typing import Any

import pytest

from palaver.runtime.http.client_addresses import ClientAddresses, TrustedProxies
from palaver.runtime.settings import SettingsError, load_settings

PROXY = "192.0.2.1"
TRUSTED = ["192.0.2.0/24", "2001:db8::1"]


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        (["203.0.113.7"], "203.0.113.7"),
        (["203.0.113.7:567"], "203.0.113.7"),
        (["[2001:db8::7]:80"], "2001:db8::7"),
        (["[2001:db8::7]"], "2001:db8::7"),
        (["2001:DB8:0::7"], "2001:db8::7"),
        (["::ffff:203.0.113.7"], "203.0.113.7"),
        (["198.51.100.1, 203.0.113.7"], "203.0.113.7"),
        (["203.0.113.7, 192.0.2.9"], "203.0.113.7"),
        (["198.51.100.1", "203.0.113.7", "2001:db8::1, 192.0.2.9"], "203.0.113.7"),
        (["<script>, 203.0.113.7"], "203.0.113.7"),
        (["192.0.2.7, 192.0.2.8"], "192.0.2.7"),
        # What is no address names nobody: who sent it stands for all behind it
        (["<script>"], PROXY),
        (["203.0.113.7, <script>"], PROXY),
        (["203.0.113.7, unknown, 192.0.2.9"], "192.0.2.9"),
        (["203.0.113.7,"], PROXY),
        (["fe80::1%<script>"], PROXY),
        (["1.2.3.4:<script>"], PROXY),
        (["[1.2.3.4"], PROXY),
        (["1.2.3"], PROXY),
        (["999.1.1.1"], PROXY),
        (["016.1.1.1"], PROXY),
        (["16909060"], PROXY),
        (["\u0661.1.1.1"], PROXY),
        (["1.2.3.4\x00"], PROXY),
        ([""], PROXY),
        ([], PROXY),
    ],
)
def test_the_last_one_that_is_no_proxy_of_ours_is_the_client(forwarded: list[str], client: str) -> None:
    """A client could choose its address, and with it whose budget it uses up and what operators read."""
    assert TrustedProxies(TRUSTED).client_address(PROXY, forwarded) == client


@pytest.mark.parametrize("trusted", [[], ["198.51.100.0/24"]])
def test_a_stranger_names_nobody(trusted: list[str]) -> None:
    """Anybody could come from anywhere."""
    assert TrustedProxies(trusted).client_address(PROXY, ["203.0.113.7"]) == PROXY


def test_any_peer_may_be_trusted() -> None:
    """Behind a load balancer whose addresses change, all clients would have one address."""
    assert TrustedProxies(["*"]).client_address(PROXY, ["203.0.113.7, 198.51.100.1"]) == "203.0.113.7"
    assert TrustedProxies(["127.0.0.1"]).client_address("::ffff:127.0.0.1", ["203.0.113.7"]) == "203.0.113.7"


async def test_the_scope_gets_the_address_and_the_scheme_of_a_trusted_proxy_alone() -> None:
    """Redirects and traces would name the wrong scheme, and limits the wrong client."""
    seen: list[Any] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append((scope["client"][0], scope["scheme"]))

    headers = [(b"x-forwarded-for", b"203.0.113.7"), (b"x-forwarded-proto", b"https")]
    for peer, sent in (
        (PROXY, headers),
        ("198.51.100.1", headers),
        (PROXY, [(b"x-forwarded-proto", b"javascript")]),
    ):
        scope = {"type": "http", "client": (peer, 1), "scheme": "http", "headers": sent}
        await ClientAddresses(app, TrustedProxies(TRUSTED))(scope, None, None)  # type: ignore[arg-type] # not used
    assert seen == [("203.0.113.7", "https"), ("198.51.100.1", "http"), (PROXY, "http")]


def test_nobody_is_trusted_unless_the_settings_name_them() -> None:
    """Whoever reaches the port through any program of the machine could choose an address."""
    assert load_settings(environ={}).gateway.trusted_proxies == []
    named = load_settings(environ={"PALAVER_GATEWAY__TRUSTED_PROXIES": "127.0.0.1, 10.0.0.0/8, *"})
    assert named.gateway.trusted_proxies == ["127.0.0.1", "10.0.0.0/8", "*"]
    with pytest.raises(SettingsError, match="TRUSTED_PROXIES"):
        load_settings(environ={"PALAVER_GATEWAY__TRUSTED_PROXIES": "localhost"})
