"""Whom an address is counted for."""

from palaver.runtime.addresses import address_key


def test_household_is_one_address() -> None:
    """Whoever has IPv6 has 2^64 addresses, and would have as many budgets."""
    assert address_key("2001:db8:1:2::1") == address_key("2001:db8:1:2:ffff::9")
    assert address_key("2001:db8:1:2::1") != address_key("2001:db8:1:3::1")
    assert address_key("::ffff:192.0.2.1") == address_key("192.0.2.1") != address_key("192.0.2.2")
    assert address_key("not an address") == "not an address"
    assert address_key("fe80::1%eth0") == address_key("fe80::1%eth1")
