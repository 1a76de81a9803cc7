"""The deployment's secret: where it comes from, what it accepts, and that nothing shows it."""

import os
import stat
from pathlib import Path

import pytest

from palaver.runtime.deployment_secret import (
    FILE,
    DeploymentSecret,
    made_secret,
    read_secrets,
    secret_of,
    write_secret,
)
from palaver.runtime.settings import Settings, SettingsError, load_settings, settings_environment
from palaver.runtime.startup import StartError

OLD, NEW = "old-" * 10, "new-" * 10


def settings_of(**variables: str) -> Settings:
    """The settings of an environment."""
    return load_settings(environ={f"PALAVER_{name}": value for name, value in variables.items()})


def test_the_first_is_sent_and_each_is_accepted() -> None:
    """A secret could not be changed without a moment in which services refuse each other."""
    secret = secret_of(settings_of(SECRET=f"{NEW},{OLD}"))
    assert secret.sent == NEW
    assert secret.accepts(NEW.encode())
    assert secret.accepts(OLD.encode())


@pytest.mark.parametrize("given", ["", NEW[:-1], NEW + "x", NEW.upper(), "\0", "ü" * 40])
def test_nothing_else_is_accepted(given: str) -> None:
    """Whoever can connect could read every chat."""
    assert not DeploymentSecret([NEW]).accepts(given.encode())


@pytest.mark.parametrize("given", ["short", "x" * 31, "x" * 257, "ü" * 40, "with space " * 4])
def test_a_weak_or_odd_secret_is_refused_without_showing_it(given: str) -> None:
    """A secret that can be guessed would protect nothing; one in an error text is none any more."""
    with pytest.raises(SettingsError) as caught:
        settings_of(SECRET=given)
    assert str(caught.value).startswith("setting PALAVER_SECRET: must be 32 to 256 of")
    assert given not in str(caught.value)


def test_a_file_of_settings_may_have_one_or_a_list(tmp_path: Path) -> None:
    """An operator would have to write a list of one."""
    for text in (f'secret = "{NEW}"', f'secret = ["{NEW}", "{OLD}"]'):
        file = tmp_path / "palaver.toml"
        file.write_text(text)
        assert secret_of(load_settings(file, {})).sent == NEW


@pytest.mark.parametrize("text", ["secret = 5", "secret = [5]", "secret = {}", 'secret = ["short"]'])
def test_another_kind_of_value_is_one_line(tmp_path: Path, text: str) -> None:
    """An operator would read a traceback, with the secret in it."""
    file = tmp_path / "palaver.toml"
    file.write_text(text)
    with pytest.raises(SettingsError, match="setting secret: must be 32"):
        load_settings(file, {})


def test_nothing_shows_it() -> None:
    """A log line, or a traceback with settings in it, would give it away."""
    settings = settings_of(SECRET=NEW)
    for shown in (repr(settings), str(settings), repr(secret_of(settings)), settings.model_dump_json()):
        assert NEW not in shown


def test_a_child_gets_it_by_its_environment() -> None:
    """`palaver up` would start services that do not know each other."""
    settings = settings_of(SECRET=f"{NEW},{OLD}")
    assert load_settings(environ=settings_environment(settings)) == settings


def test_one_is_read_from_a_file(tmp_path: Path) -> None:
    """A secret that an orchestrator mounts as a file would have to be copied into a variable."""
    file = tmp_path / "mounted"
    file.write_text(f"{NEW}\n{OLD}\n")
    secret = secret_of(settings_of(SECRET_FILE=str(file)))
    assert secret.sent == NEW
    assert secret.accepts(OLD.encode())


@pytest.mark.parametrize("content", [b"", b"\n", b"short\n", b"\xff" * 40, OLD.encode() + b"\nshort"])
def test_a_file_that_holds_none_is_named(tmp_path: Path, content: bytes) -> None:
    """A service would start that nobody else accepts, or that accepts anybody."""
    file = tmp_path / "mounted"
    file.write_bytes(content)
    with pytest.raises(StartError, match=r"mounted \(secret_file\) holds no secret") as caught:
        read_secrets(file, "secret_file")
    assert OLD not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """An operator would not know which file is meant."""
    with pytest.raises(StartError, match=r"cannot read .*none \(secret_file\): No such file"):
        secret_of(settings_of(SECRET_FILE=str(tmp_path / "none")))


def test_without_one_the_setting_is_named() -> None:
    """A service would serve whoever reaches it."""
    with pytest.raises(StartError, match="setting secret: is missing"):
        secret_of(Settings())


def test_one_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    """Other users of the machine could call the inside; or a restart would lock out commands that run."""
    before = os.umask(0)
    try:
        first = made_secret(tmp_path)
    finally:
        os.umask(before)
    assert len(first) >= 32
    assert made_secret(tmp_path) == first
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.iterdir()] == [FILE]


def test_two_directories_have_different_ones(tmp_path: Path) -> None:
    """Whoever runs one Palaver could call another's inside."""
    (tmp_path / "other").mkdir()
    assert made_secret(tmp_path) != made_secret(tmp_path / "other")


def test_a_file_that_others_can_read_is_closed(tmp_path: Path) -> None:
    """A restored backup would leave the secret open."""
    write_secret(tmp_path / FILE, NEW)
    (tmp_path / FILE).chmod(0o644)
    assert made_secret(tmp_path) == NEW
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


def test_what_a_crash_left_does_not_matter(tmp_path: Path) -> None:
    """`palaver up` would never start again after a crash at its first start."""
    (tmp_path / f"{FILE}.new").write_text("half")
    assert len(made_secret(tmp_path)) >= 32
