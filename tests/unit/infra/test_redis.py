"""Redis as a native process: what is written for it. Its real server is in tests/e2e."""

from pathlib import Path

import pytest

from palaver.infra.credentials import credentials_in
from palaver.infra.engine import NotReadyError, Place
from palaver.infra.redis import RedisEngine, redis_conf
from palaver.infra.topology import Address


def test_what_matters_is_not_evicted(tmp_path: Path) -> None:
    """Who is hot, and who is online, would vanish under load."""
    credentials = credentials_in(tmp_path)
    lines = redis_conf(credentials, "127.0.0.1", 23_301, "/data", "/local").splitlines()
    assert {"bind 127.0.0.1", "port 23301", 'dir "/data"', "maxmemory-policy noeviction"} <= set(lines)
    assert f"requirepass {credentials.redis}" in lines
    # The operator's own lines win
    assert lines[-1] == 'include "/local"'


def test_a_server_that_is_not_there_is_not_ready(tmp_path: Path) -> None:
    """A start would end before services can connect."""
    engine = RedisEngine(Place("redis", tmp_path, Address("127.0.0.1", 1)), credentials_in(tmp_path))
    with pytest.raises(NotReadyError, match="refused"):
        engine.ask_version()
    assert engine.installed_version().count(".") == 2
