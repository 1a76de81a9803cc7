"""Settings: one typed section a service, from `PALAVER_…` variables and an optional TOML file.

A variable wins over the file. An unknown key stops the start with its name, because a misspelt
setting that is silently ignored is found out in production.
"""

import ipaddress
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from palaver.runtime.startup import StartError

PREFIX = "PALAVER_"
# Half of the largest gRPC message
REQUEST_TEXT_BYTES = 16_777_216
# What HTTP headers and gRPC metadata carry as it is, and lists of variables do not split
SECRET = re.compile(r"[A-Za-z0-9_.~+/=-]{32,256}")


class Section(BaseModel):
    """A service's settings. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid")


def checked_proxy(value: str) -> str:
    """An address, a network or `*`. Raises `ValueError`: a misspelt one would be no proxy, in silence."""
    if value != "*":
        ipaddress.ip_network(value, strict=False)
    return value


class GatewaySettings(Section):
    """The public HTTP and WebSocket service."""

    host: str = Field("0.0.0.0", description="Address to listen on for the public.")  # noqa: S104 - the service is public
    port: int = Field(10000, ge=0, le=65535, description="Public HTTP and WebSocket port.")
    auth_url: str = Field(
        "http://127.0.0.1:10001",
        description="Where auth's REST is: a URL, or `unix:` and the path of its socket.",
    )
    messenger_target: str = Field(
        "127.0.0.1:10004",
        description="Where the messenger's gRPC is: host and port, or `unix:` and the path of its socket.",
    )
    messenger_stream: str = Field(
        "",
        description="Where the messenger serves streams alone, in the same form. Empty: at "
        "`messenger_target`, where a message costs more.",
    )
    messenger_url: str = Field("http://127.0.0.1:10003", description="Where the messenger's health is.")
    cors_origins: list[str] = Field(
        [],
        description="Origins whose pages may call the API and open sockets; `*` allows any. Empty: none may "
        "call the API, and sockets are opened for any.",
    )
    private_host: str = Field("127.0.0.1", description="Address to listen on for Prometheus.")
    private_port: int = Field(10002, ge=0, le=65535, description="Health and metrics.")
    trusted_proxies: list[Annotated[str, AfterValidator(checked_proxy)]] = Field(
        [],
        description="Peers whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed: addresses, "
        "networks, or `*` for any. Empty: none.",
    )
    connections: int = Field(
        20_000,
        ge=1,
        description="Most open connections, sockets included. Never more than the open files of the process "
        "allow, of which a part is kept for connections to other services.",
    )
    connections_per_address: int = Field(
        2_000,
        ge=1,
        description="Most open connections of one address; trusted proxies have no such bound.",
    )
    body_bytes: int = Field(
        1_048_576,
        ge=1024,
        le=16_777_216,
        description="Largest HTTP request body where texts or lists of users are sent, with a valid access "
        "token, in bytes.",
    )
    small_body_bytes: int = Field(
        32_768, ge=1024, le=1_048_576, description="Largest HTTP request body everywhere else, in bytes."
    )
    body_values: int = Field(
        16_384, ge=1024, le=131_072, description="Most values in the JSON of one HTTP request body."
    )
    frame_bytes: int = Field(
        262_144, ge=1024, le=16_777_216, description="Largest socket message from a client, in bytes."
    )
    text_characters: int = Field(16_384, ge=1, description="Longest message text, in characters.")
    text_bytes: int = Field(
        65_536, ge=4, le=1_048_576, description="Longest message text, in bytes of UTF-8."
    )
    messages_per_request: int = Field(100, ge=1, description="Most messages in one request or frame.")
    rates: bool = Field(True, description="Whether the rates of addresses and of new sockets are limited.")
    requests_per_second: float = Field(
        500.0,
        gt=0,
        description="Requests and new sockets a second that an address may sustain. Pages of history are not "
        "counted: they take turns.",
    )
    requests_burst: int = Field(
        5_000, ge=1, description="Requests and new sockets of an address at once after a pause."
    )
    sockets_per_minute: float = Field(
        120.0, gt=0, description="New sockets a minute that a user may sustain."
    )
    sockets_burst: int = Field(120, ge=1, description="Sockets that a user may open after a pause.")
    sockets_per_user: int = Field(20, ge=1, description="Most sockets of a user on one gateway.")
    ping_seconds: float = Field(
        30.0, gt=0, description="A socket that was silent so long is pinged, and closed after as long again."
    )
    socket_queue_bytes: int = Field(
        1_048_576, ge=1024, description="Bytes that may wait for a slow reader before it is cut off."
    )
    frames_in_flight: int = Field(
        20_000, ge=1, description="Sends that may wait for the messenger before more are refused."
    )
    drain_seconds: float = Field(
        5.0, ge=0, description="How long a stopping gateway waits for requests and sends in flight."
    )


class AuthSettings(Section):
    """Accounts, sessions and signing keys."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(
        10001,
        ge=0,
        le=65535,
        description="Private port: REST, health and metrics; health and metrics alone where `socket` is set.",
    )
    socket: str = Field("", description="Path of a Unix socket that serves REST in the port's place.")
    database_url: str = Field("", description="Where accounts are. Empty: `auth.db` in the data directory.")
    rates: bool = Field(
        True,
        description="Whether rates of sign-ups, wrong passwords, searches and profiles are limited.",
    )
    access_token_seconds: int = Field(1_800, ge=10, description="How long an access token lives.")
    refresh_token_seconds: int = Field(
        2_592_000, ge=60, description="How long a session lives without being refreshed."
    )
    refresh_repeat_seconds: float = Field(
        10.0,
        ge=0,
        le=300,
        description="How long a used refresh token gives the same pair again, unless the new one was used.",
    )
    sessions_per_user: int = Field(
        100, ge=1, le=1_000, description="Most sessions of a user; a sign-in beyond them ends the oldest."
    )
    argon2_time_cost: int = Field(2, ge=1, description="argon2id passes over the memory (RFC 9106).")
    argon2_memory_kib: int = Field(32_768, ge=8, description="argon2id memory, in KiB.")
    argon2_parallelism: int = Field(1, ge=1, description="argon2id lanes.")
    hashing_threads: int = Field(0, ge=0, description="Passwords hashed at once. 0: one a core.")
    hashing_queue: int = Field(
        200, ge=1, description="Passwords that may wait for hashing before more are refused."
    )
    hashing_queue_per_address: int = Field(
        100, ge=1, description="Passwords of one address that may wait for hashing before more are refused."
    )
    wrong_passwords_per_account: int = Field(
        10, ge=1, description="Wrong passwords a minute for an account from one address or known device."
    )
    wrong_passwords_before_slowing: int = Field(
        50,
        ge=1,
        description="Wrong passwords a minute for an account, from all unknown addresses together, before "
        "sign-ins from unknown addresses are slowed.",
    )
    wrong_passwords_per_address: int = Field(
        100, ge=1, description="Wrong passwords a minute from an address."
    )
    sign_ups_per_address: int = Field(100, ge=1, description="Sign-ups a minute from an address.")
    searches_per_user: int = Field(
        300, ge=1, description="Searches for users, by name or email, a minute of a user."
    )
    searches_per_address: int = Field(
        3_000, ge=1, description="Searches for users, by name or email, a minute from an address."
    )
    profile_changes_per_user: int = Field(30, ge=1, description="Changes of the profile a minute of a user.")


class MessengerSettings(Section):
    """Chats and messages."""

    host: str = Field("127.0.0.1", description="Address to listen on, for gRPC and HTTP.")
    http_port: int = Field(10003, ge=0, le=65535, description="Health and metrics.")
    grpc_port: int = Field(
        10004, ge=0, le=65535, description="Private gRPC port. None is opened where `grpc_socket` is set."
    )
    grpc_socket: str = Field("", description="Path of a Unix socket that serves gRPC in the port's place.")
    stream_port: int = Field(
        0, ge=0, le=65535, description="Private port that serves the gateways' streams alone. 0: none."
    )
    stream_socket: str = Field("", description="Path of a Unix socket that serves them in the port's place.")
    auth_url: str = Field(
        "http://127.0.0.1:10001",
        description="Where auth's REST is: a URL, or `unix:` and the path of its socket.",
    )
    database_url: str = Field(
        "", description="Where the journal is. Empty: `messenger.db` in the data directory."
    )
    rates: bool = Field(True, description="Whether the rates of what a user does are limited.")
    messages_per_second: float = Field(100.0, gt=0, description="Messages a second that a user may sustain.")
    messages_burst: int = Field(500, ge=1, description="Messages that a user may send at once after a pause.")
    members_per_group: int = Field(1_000, ge=2, le=10_000, description="Most members of a group.")
    changes_per_second: float = Field(
        10.0, gt=0, description="Edits, deletions and removals a second that a user may sustain."
    )
    changes_burst: int = Field(
        100, ge=1, description="Edits, deletions and removals that a user may make at once after a pause."
    )
    chats_per_second: float = Field(
        1.0, gt=0, description="New direct chats and groups a second that a user may sustain."
    )
    chats_burst: int = Field(
        100, ge=1, description="New direct chats and groups that a user may open at once after a pause."
    )
    members_per_second: float = Field(
        100.0, gt=0, description="Users a second that a user may sustain to put into groups."
    )
    members_burst: int = Field(
        10_000, ge=1, description="Users that a user may put into groups at once after a pause."
    )
    receipts_per_second: float = Field(
        50.0, gt=0, description="Receipts a second that a user may sustain; others are merged once a second."
    )
    receipts_burst: int = Field(
        500, ge=1, description="Receipts that a user may move at once after a pause before they are merged."
    )
    text_characters: int = Field(16_384, ge=1, description="Longest message text, in characters.")
    text_bytes: int = Field(
        65_536, ge=4, le=1_048_576, description="Longest message text, in bytes of UTF-8."
    )
    messages_per_request: int = Field(100, ge=1, description="Most messages in one request.")
    batch_messages: int = Field(1_000, ge=1, description="Most messages of one transaction.")
    sender_share: float = Field(
        0.125, gt=0, le=1, description="Share of a batch that one sender may take while others wait."
    )
    queue_messages: int = Field(
        50_000, ge=1, description="Messages that may wait for the journal before more are refused."
    )
    chats_cached: int = Field(50_000, ge=1, description="Chats whose members are kept in memory.")
    commit_log_seconds: int = Field(
        600,
        ge=600,
        description="How long the commit log is kept. Clients of a gateway that was away for longer resume.",
    )

    @model_validator(mode="after")
    def check_request(self) -> Self:
        """The messages of one request, as stored, are one gRPC message. Raises `ValueError`."""
        if self.messages_per_request * self.text_bytes > REQUEST_TEXT_BYTES:
            raise ValueError(f"messages_per_request times text_bytes must be at most {REQUEST_TEXT_BYTES:,}")
        return self


class TelemetrySettings(Section):
    """Logs and traces."""

    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="Least level logged.")
    log_to: str = Field(
        "stdout", pattern="^(stdout|file)$", description="`stdout`, or `file`: `logs/` in the data directory."
    )
    instance: str = Field(
        "",
        pattern=r"^[A-Za-z0-9_-]{0,64}$",
        description="Name of this process where several of one service run, e.g. `2`: its files are then "
        "`gateway-2.log` and `gateway-2.jsonl`, and each line and span says it. Not for `palaver up`.",
    )
    access_log: bool = Field(True, description="Whether each request is a line of the log.")
    file_bytes: int = Field(
        16_777_216,
        ge=4096,
        description="A file of lines or of spans that has grown to this is followed by a new one.",
    )
    files: int = Field(
        4, ge=1, description="How many such files are kept of each service, the newest included."
    )
    free_bytes: int = Field(
        268_435_456,
        ge=0,
        description="While less of the disk is free, no line or span is written to a file: the rest is for "
        "data. On a disk smaller than ten times this, a tenth of it.",
    )
    traces: bool = Field(
        True, description="Whether traces are made: trace ids, and spans of those that are kept."
    )
    sample_per_second: int = Field(
        10, ge=0, description="Traces that are kept in each second, whatever the ratio says."
    )
    sample_ratio: float = Field(0.001, ge=0, le=1, description="Share of all other traces that is kept.")
    slow_seconds: float = Field(
        1.0, gt=0, description="What takes longer is kept, and so is what fails, sampled or not."
    )
    otlp_endpoint: str = Field(
        "",
        pattern=r"^(https?://[^\s/]+/?)?$",
        description="An OTLP collector that gets spans and lines by gRPC, e.g. `http://localhost:4317`. "
        "Empty: none; then spans go to `traces/` in the data directory.",
    )

    @property
    def writes_files(self) -> bool:
        """Whether lines or spans go under the data directory."""
        return self.log_to == "file" or (self.traces and not self.otlp_endpoint)


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
    telemetry: TelemetrySettings = Field(default_factory=TelemetrySettings)

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
        variables[setting.variable] = value if isinstance(value, str) else json.dumps(value)
    return variables
