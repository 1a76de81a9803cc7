"""The settings file of services on the engines."""

import stat
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from palaver.infra.credentials import credentials_in
from palaver.infra.settings_file import engine_settings, write_settings
from palaver.infra.topology import native_topology
from palaver.runtime.settings import load_settings
from palaver.runtime.startup import StartError


def test_services_find_every_engine(tmp_path: Path) -> None:
    """A service would start on a default, such as SQLite, beside the engines."""
    topology, credentials = native_topology(23_300), credentials_in(tmp_path)
    write_settings(tmp_path / "palaver.toml", engine_settings(topology, credentials))
    settings = load_settings(tmp_path / "palaver.toml", environ={})
    found = tomllib.loads((tmp_path / "palaver.toml").read_text())
    for schema in ("auth", "messenger"):
        url = urlsplit(found[schema]["database_url"])
        assert (url.scheme, url.username, url.password) == ("mysql", schema, credentials.mysql[schema])
        assert (url.hostname, url.port, url.path) == ("127.0.0.1", 23_300, f"/{schema}")
    redis = urlsplit(found["messenger"]["redis_url"])
    assert (redis.scheme, redis.password, redis.port) == ("redis", credentials.redis, 23_301)
    archive = urlsplit(found["archive"]["url"])
    assert (archive.scheme, archive.username, archive.password) == (
        "clickhouse",
        "palaver",
        credentials.clickhouse,
    )
    assert (archive.port, archive.path) == (topology.addresses["clickhouse-cluster"].port, "/palaver")
    assert found["archive"]["cluster"] == "palaver"
    assert settings.archive.url == found["archive"]["url"]
    assert stat.S_IMODE((tmp_path / "palaver.toml").stat().st_mode) == 0o600


def test_what_an_operator_has_written_stays(tmp_path: Path) -> None:
    """A start of the engines would undo an operator's settings and comments."""
    path = tmp_path / "palaver.toml"
    values = {"data_dir": 'a "b" \\ c', "auth": {"port": 1}}
    write_settings(path, values)
    own = path.read_text() + "# our own\n[gateway]\nport = 8080\ncors_origins = ['*']\n"
    path.write_text(own)
    write_settings(path, values)
    assert path.read_text() == own
    write_settings(path, {"auth": {"port": 2}})
    assert tomllib.loads(path.read_text()) == {
        "data_dir": 'a "b" \\ c',
        "auth": {"port": 2},
        "gateway": {"port": 8080, "cors_origins": ["*"]},
    }


def test_a_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    """A mistake of an operator would be overwritten with what they have lost."""
    (tmp_path / "palaver.toml").write_text("port = = 1")
    with pytest.raises(StartError, match=r"settings file .*palaver\.toml: "):
        write_settings(tmp_path / "palaver.toml", {})
