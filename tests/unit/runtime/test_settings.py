"""Settings from variables and a file."""

import tomllib
from pathlib import Path

import pytest

from palaver.runtime.settings import (
    Settings,
    SettingsError,
    all_settings,
    load_settings,
    settings_environment,
)
from palaver.runtime.settings_page import settings_page

REFERENCE = Path(__file__).parents[3] / "docs/reference/settings.md"


def write_config(tmp_path: Path, text: str) -> Path:
    """A settings file."""
    config = tmp_path / "palaver.toml"
    config.write_text(text)
    return config


def test_defaults_need_no_file_and_no_variable() -> None:
    """A newcomer could not start without writing settings first."""
    settings = load_settings(environ={"HOME": "/root"})
    assert settings == Settings()
    assert settings.gateway.port == 10000


def test_a_file_sets_values(tmp_path: Path) -> None:
    """An operator's file would be ignored."""
    config = write_config(
        tmp_path, 'data_dir = "/srv/p"\n[gateway]\nport = 81\ncors_origins = ["https://a"]\n'
    )
    settings = load_settings(config, {})
    assert settings.data_dir == Path("/srv/p")
    assert settings.gateway.port == 81
    assert settings.gateway.cors_origins == ["https://a"]
    assert settings.auth == Settings().auth


def test_a_variable_wins_over_the_file(tmp_path: Path) -> None:
    """A container's variable could not change what the image's file says."""
    config = write_config(tmp_path, "[gateway]\nport = 81\nping_seconds = 7.5\n")
    settings = load_settings(config, {"PALAVER_GATEWAY__PORT": "82", "PALAVER_AUTH__RATES": "false"})
    assert settings.gateway.port == 82
    assert settings.gateway.ping_seconds == 7.5
    assert settings.auth.rates is False


def test_variables_are_read_from_the_process_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """`PALAVER_… palaver up` would start with the defaults."""
    monkeypatch.setenv("PALAVER_TELEMETRY__LOG_LEVEL", "debug")
    assert load_settings().telemetry.log_level == "debug"


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ("", []),
        ("https://a", ["https://a"]),
        ("https://a, https://b,", ["https://a", "https://b"]),
        ('["https://a", "https://b"]', ["https://a", "https://b"]),
    ],
)
def test_lists_come_as_commas_or_json(text: str, entries: list[str]) -> None:
    """An origin would be taken together with its comma, and its page refused."""
    assert load_settings(environ={"PALAVER_GATEWAY__CORS_ORIGINS": text}).gateway.cors_origins == entries


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"PALAVER_GATEWAY__PROT": "1"}, "PALAVER_GATEWAY__PROT: there is no such setting"),
        ({"PALAVER_PORT": "1"}, "PALAVER_PORT: there is no such setting"),
        ({"Palaver_Gateway__Prot": "1"}, "Palaver_Gateway__Prot: there is no such setting"),
        ({"PALAVER_GATEWAY": "{}"}, "PALAVER_GATEWAY: there is no such setting"),
        ({"PALAVER_GATEWAY__PORT": "many"}, "PALAVER_GATEWAY__PORT: Input should be a valid integer"),
        (
            {"PALAVER_GATEWAY__PORT": "65536"},
            "PALAVER_GATEWAY__PORT: Input should be less than or equal to 65535",
        ),
        ({"PALAVER_GATEWAY__CORS_ORIGINS": "[1"}, "PALAVER_GATEWAY__CORS_ORIGINS: "),
        (
            {"PALAVER_GATEWAY__CORS_ORIGINS": "[1]"},
            "PALAVER_GATEWAY__CORS_ORIGINS: Input should be a valid string",
        ),
    ],
)
def test_a_wrong_variable_is_named(variables: dict[str, str], named: str) -> None:
    """A misspelt variable would be ignored until production finds out."""
    with pytest.raises(SettingsError) as caught:
        load_settings(environ=variables)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[gateway]\nprot = 1", "gateway.prot: there is no such setting"),
        ("[gatway]\nport = 1", "gatway: there is no such setting"),
        ("gateway = 3", "gateway: is a table of settings, not a value"),
        ("[auth]\nport = 'x'", "auth.port: Input should be a valid integer"),
        ("[auth\n", "palaver.toml: "),
    ],
)
def test_a_wrong_key_of_the_file_is_named(tmp_path: Path, text: str, named: str) -> None:
    """A misspelt key would be ignored until production finds out."""
    for environ in ({}, {"PALAVER_GATEWAY__HOST": "::1"}):
        with pytest.raises(SettingsError) as caught:
            load_settings(write_config(tmp_path, text), environ)
        assert named in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A wrong path would start the service with the defaults, on the wrong database."""
    with pytest.raises(SettingsError, match=r"none\.toml: No such file"):
        load_settings(tmp_path / "none.toml", {})


def test_a_mistake_does_not_show_the_value() -> None:
    """A database address's password would stand in the journal of the machine."""
    with pytest.raises(SettingsError) as caught:
        load_settings(environ={"PALAVER_AUTH__PORT": "mysql://root:hunter2@db"})
    assert "hunter2" not in str(caught.value)


def test_settings_survive_the_way_to_another_process() -> None:
    """A service that `palaver up` starts would run with other settings than the operator gave."""
    settings = load_settings(
        environ={
            "PALAVER_DATA_DIR": "/srv/p q",
            "PALAVER_GATEWAY__CORS_ORIGINS": "https://a,https://b",
            "PALAVER_MESSENGER__SENDER_SHARE": "0.25",
            "PALAVER_AUTH__RATES": "no",
            "PALAVER_AUTH__DATABASE_URL": "mysql://a:1@b/c",
        }
    )
    variables = settings_environment(settings)
    assert load_settings(environ=variables) == settings
    assert variables.keys() == {setting.variable for setting in all_settings()}


def test_every_setting_is_documented() -> None:
    """An operator could not find out what a setting means. `make docs` writes the page."""
    undescribed = [setting.toml_key for setting in all_settings() if not setting.field.description]
    assert undescribed == []
    page = REFERENCE.read_text()
    assert [s.variable for s in all_settings() if f"| `{s.variable}` | `{s.toml_key}` |" not in page] == []
    assert page == settings_page(), "run `make docs`"


def test_the_example_of_the_page_is_a_good_file(tmp_path: Path) -> None:
    """A newcomer would copy an example that does not start."""
    example = settings_page().partition("```toml\n")[2].partition("```")[0]
    assert tomllib.loads(example)
    load_settings(write_config(tmp_path, example), {})


def test_addresses_of_replicas_are_a_text_or_a_list(tmp_path: Path) -> None:
    """A deployment could not say where its messengers are in the way that its other lists are written."""
    config = write_config(
        tmp_path,
        '[gateway]\nmessenger_target = ["10.0.0.1:10004", "10.0.0.2:10004"]\nauth_url = "http://a:1,http://b:1"\n',
    )
    variables = {"PALAVER_MESSENGER__AUTH_URL": "http://a:1,unix:/run/auth.sock"}
    settings = load_settings(config, variables)
    assert settings.gateway.messenger_target == "10.0.0.1:10004,10.0.0.2:10004"
    assert settings.gateway.auth_url == "http://a:1,http://b:1"
    assert settings.messenger.auth_url == "http://a:1,unix:/run/auth.sock"
    assert load_settings(environ=settings_environment(settings)) == settings


@pytest.mark.parametrize(
    ("key", "value", "part"),
    [
        ("gateway.auth_url", "10.0.0.1:10001", "begins with http://"),
        ("gateway.messenger_target", "10.0.0.1:10004,messenger", "messenger is no host and port"),
        ("gateway.messenger_stream", "http://10.0.0.1:10004", "is a URL"),
        ("messenger.auth_url", "", "names no address"),
    ],
)
def test_a_wrong_address_stops_the_start(key: str, value: str, part: str) -> None:
    """A replica with a misspelt address would be away for ever, and found by nobody."""
    variable = f"PALAVER_{key.replace('.', '__').upper()}"
    with pytest.raises(SettingsError, match=part) as caught:
        load_settings(environ={variable: value})
    assert variable in str(caught.value)
