"""The entries of settings that say where replicas are, and the addresses of names."""

import pytest

from palaver.runtime.replicas.addresses import Entry, address_at, look_up, read_entries, read_entry


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("10.0.0.1:10004", Entry("", "10.0.0.1", 10004, "")),
        ("[::1]:10004", Entry("", "::1", 10004, "")),
        ("messenger:10004", Entry("", "messenger", 10004, "")),
        ("dns:///messenger:10004", Entry("", "messenger", 10004, "")),
        ("http://auth:10001", Entry("http", "auth", 10001, "")),
        ("https://auth/inside/", Entry("https", "auth", 443, "/inside")),
        ("unix:/run/auth.sock", Entry("", "", 0, "/run/auth.sock")),
    ],
)
def test_an_entry_is_read(text: str, entry: Entry) -> None:
    """A deployment whose addresses are written in another way could not be started."""
    assert read_entry(text) == entry


@pytest.mark.parametrize(
    "text",
    ["", " , ", "messenger", "messenger:port", "a:1,b", "ftp://a:1", "http://", "unix:", "a:1/path", "u@a:1"],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """A misspelt address would be found out by its silence."""
    with pytest.raises(ValueError, match=r".+"):
        read_entries(text)


def test_entries_are_kept_in_their_order_each_once() -> None:
    """One replica that is named twice would get twice the calls."""
    assert [entry.host for entry in read_entries("b:1, a:1,b:1")] == ["b", "a"]


async def test_a_name_is_looked_up_in_one_family() -> None:
    """Each replica of a machine with IPv4 and IPv6 would count as two, of which one may never answer."""
    found = await look_up(read_entry("localhost:10004"))
    assert [address.text for address in found] == ["127.0.0.1:10004"]
    assert found[0].authority == "localhost:10004"


async def test_what_needs_no_name_is_its_own_address() -> None:
    """Sockets and literal addresses would depend on DNS."""
    for text, url in (
        ("unix:/run/auth.sock", "http://localhost"),
        ("http://10.0.0.1:10001/inside", "http://10.0.0.1:10001/inside"),
        ("http://[::1]:10001", "http://[::1]:10001"),
    ):
        entry = read_entry(text)
        assert not entry.is_name
        assert await look_up(entry) == [address_at(entry, entry.host)]
        assert address_at(entry, entry.host).base_url == url
