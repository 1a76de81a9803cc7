"""Passwords that are made at the first start."""

import re
import stat
from pathlib import Path

import pytest

from palaver.infra.credentials import credentials_in
from palaver.runtime.startup import StartError


def test_passwords_are_made_once(tmp_path: Path) -> None:
    """The second start would lock services out of their databases."""
    made = credentials_in(tmp_path)
    assert credentials_in(tmp_path) == made
    assert stat.S_IMODE((tmp_path / "passwords.json").stat().st_mode) == 0o600


def test_every_account_has_a_password_of_its_own(tmp_path: Path) -> None:
    """Who learns one password would have all data."""
    made = credentials_in(tmp_path)
    all_of_them = [*made.mysql.values(), made.mysql_root, made.clickhouse, made.redis]
    assert len(set(all_of_them)) == 5
    # Without quotes in URLs, SQL, XML and configuration files
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{32}", password) for password in all_of_them)


def test_no_text_shows_a_password(tmp_path: Path) -> None:
    """A log or a traceback would give it away."""
    made = credentials_in(tmp_path)
    assert made.redis not in f"{made!r} {made}"


def test_a_damaged_file_is_not_replaced(tmp_path: Path) -> None:
    """New passwords would fit no account any more, and the old ones would be gone."""
    (tmp_path / "passwords.json").write_text('{"mysql": {}}')
    with pytest.raises(StartError, match="holds no passwords"):
        credentials_in(tmp_path)
    assert (tmp_path / "passwords.json").read_text() == '{"mysql": {}}'
