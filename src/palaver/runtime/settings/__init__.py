"""Settings: one typed section a service, from `PALAVER_…` variables and an optional TOML file.

A variable wins over the file. An unknown key stops the start with its name, because a misspelt
setting that is silently ignored is found out in production.
"""

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_origin

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from palaver.runtime.settings.archive import ArchiveSettings
from palaver.runtime.settings.auth import AuthSettings
from palaver.runtime.settings.gateway import GatewaySettings
from palaver.runtime.settings.infra import InfraSettings
from palaver.runtime.settings.messenger import MessengerSettings
from palaver.runtime.settings.section import Section
from palaver.runtime.settings.service import ServiceSettings
from palaver.runtime.settings.telemetry import TelemetrySettings
from palaver.runtime.startup import StartError

PREFIX = "PALAVER_"
# What HTTP headers and gRPC metadata carry as it is, and lists of variables do not split
SECRET = re.compile(r"[A-Za-z0-9_.~+/=-]{32,256}")


class Settings(Section):
    """All settings of all services."""

    data_dir: Path = Field(Path("palaver-data"), description="Where embedded databases, keys and logs are.")
    secret: list[SecretStr] = Field(
        [],
        description="By it the services of a deployment know each other: 32 to 256 of "
        "`A-Z a-z 0-9 _ . ~ + / = -`. While it is changed, two: the first is sent, each is accepted. "
        "`palaver up` makes one by itself; no other service starts without.",
    )
    secret_file: str = Field(
        "", description="A file with the secret, or with several, a line each, in place of `secret`."
    )
    gateway: GatewaySettings = Field(default_factory=GatewaySettings)
    auth: AuthSettings = Field(default_factory=AuthSettings)
    messenger: MessengerSettings = Field(default_factory=MessengerSettings)
    archive: ArchiveSettings = Field(default_factory=ArchiveSettings)
    telemetry: TelemetrySettings = Field(default_factory=TelemetrySettings)
    service: ServiceSettings = Field(default_factory=ServiceSettings)
    infra: InfraSettings = Field(default_factory=InfraSettings)

    @field_validator("secret", mode="before")
    @classmethod
    def check_secret(cls, given: Any) -> Any:
        """One secret is a list of one. The error names no value, and never a part of one."""
        secrets = given if isinstance(given, list) else [given]
        texts = [one.get_secret_value() if isinstance(one, SecretStr) else one for one in secrets]
        if not all(isinstance(text, str) and SECRET.fullmatch(text) for text in texts):
            raise PydanticCustomError("secret", "must be 32 to 256 of A-Z a-z 0-9 _ . ~ + / = -")
        return texts


class SettingsError(StartError):
    """The settings cannot be used."""


class Setting(NamedTuple):
    """Where one setting is found. `section` is empty for those of no section."""

    section: str
    key: str
    field: FieldInfo

    @property
    def variable(self) -> str:
        """Its environment variable, e.g. `PALAVER_AUTH__PORT`."""
        return PREFIX + "__".join(filter(None, (self.section, self.key))).upper()

    @property
    def toml_key(self) -> str:
        """Its dotted key in the file, e.g. `auth.port`."""
        return ".".join(filter(None, (self.section, self.key)))


def all_settings() -> Iterator[Setting]:
    """Every setting, in the order of this file's classes."""
    for name, field in Settings.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from (Setting(name, key, inner) for key, inner in kind.model_fields.items())
        else:
            yield Setting("", name, field)


def load_settings(config: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Settings from `config` (TOML) and from the environment, which wins.

    Raises `SettingsError` with one line that names the first wrong key.
    """
    given = read_variables(os.environ if environ is None else environ)
    values = read_config(config) if config else {}
    for setting, value in given.items():
        table = values.setdefault(setting.section, {}) if setting.section else values
        if not isinstance(table, dict):
            raise SettingsError(f"setting {setting.section}: is a table of settings, not a value")
        table[setting.key] = value
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise first_mistake(error, {s.toml_key: s.variable for s in given}) from None


def first_mistake(error: ValidationError, variables: Mapping[str, str]) -> SettingsError:
    """One line about the first wrong key; `variables` names those that did not come from the file."""
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"][:2])
    if first["type"] == "extra_forbidden":
        return SettingsError(f"setting {key}: there is no such setting")
    if first["type"] == "model_type":
        return SettingsError(f"setting {key}: is a table of settings, not a value")
    # Not the value itself: a database address may hold a password
    return SettingsError(f"setting {variables.get(key, key)}: {first['msg']}")


def read_config(config: Path) -> dict[str, Any]:
    """The tables of a TOML file. Raises `SettingsError`."""
    try:
        return tomllib.loads(config.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"settings file {config}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings file {config}: {error}") from None


def read_variables(environ: Mapping[str, str]) -> dict[Setting, Any]:
    """The settings that the environment gives. Raises `SettingsError` where a variable names none."""
    known = {setting.variable: setting for setting in all_settings()}
    found = {}
    for name in sorted(environ):
        if not name.upper().startswith(PREFIX):
            continue
        setting = known.get(name.upper())
        if setting is None:
            raise SettingsError(f"environment variable {name}: there is no such setting")
        is_list = get_origin(setting.field.annotation) is list
        found[setting] = read_list(name, environ[name]) if is_list else environ[name]
    return found


def read_list(name: str, text: str) -> Any:
    """The entries of a JSON array, or of a line with commas. Raises `SettingsError`."""
    if not text.lstrip().startswith("["):
        return [entry.strip() for entry in text.split(",") if entry.strip()]
    try:
        return json.loads(text)
    except ValueError as error:
        raise SettingsError(f"environment variable {name}: {error}") from None


def settings_environment(settings: Settings) -> dict[str, str]:
    """The variables that make another process load the same settings, whatever its file says."""
    values = settings.model_dump(mode="json")
    # pydantic masks them
    values["secret"] = [one.get_secret_value() for one in settings.secret]
    variables = {}
    for setting in all_settings():
        value = values[setting.section][setting.key] if setting.section else values[setting.key]
        given = getattr(getattr(settings, setting.section), setting.key) if setting.section else value
        if isinstance(given, SecretStr):
            value = given.get_secret_value()
        variables[setting.variable] = value if isinstance(value, str) else json.dumps(value)
    return variables
