"""Where a Redis is, by a setting."""

import pytest

from palaver.runtime.redis.url import RedisAddress, redis_address
from palaver.runtime.startup import StartError


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://cache", RedisAddress("cache", 6379, 0, "", "", False)),
        ("redis://:s%40cret@10.0.0.1:7000/3", RedisAddress("10.0.0.1", 7000, 3, "", "s@cret", False)),
        ("rediss://me:pw@[::1]:1/", RedisAddress("::1", 1, 0, "me", "pw", True)),
    ],
)
def test_an_address_is_read(url: str, address: RedisAddress) -> None:
    """A service would come to another Redis than the one it was given, or without its password."""
    assert redis_address(url, "messenger.redis_url") == address
    assert "cret" not in repr(redis_address(url, "messenger.redis_url"))


@pytest.mark.parametrize(
    "url",
    [
        "cache:6379",
        "http://:secret@cache",
        "redis://:secret@",
        "redis://:secret@cache:port",
        "redis://:secret@cache:99999",
        "redis://:secret@cache/zero",
        "redis://:secret@cache/0?db=1",
    ],
)
def test_a_wrong_one_is_a_line_that_names_the_setting(url: str) -> None:
    """Operators would look for a misspelt address in a traceback, and find a password in their logs."""
    with pytest.raises(StartError, match=r"^setting messenger\.redis_url: must be redis://") as error:
        redis_address(url, "messenger.redis_url")
    assert ":secret" not in str(error.value)
