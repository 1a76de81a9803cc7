"""Auth's settings."""

from pydantic import Field, SecretStr

from palaver.runtime.settings.section import Section


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
    redis_url: SecretStr = Field(
        SecretStr(""),
        description="Where Redis is, by which several auths share the rates, in the form of "
        "`messenger.redis_url`. Empty: each counts for itself.",
    )
    database_url: str = Field(
        "",
        description="Where accounts are: `mysql://USER:PASSWORD@HOST:PORT/SCHEMA` or `sqlite:///PATH`. "
        "Empty: `auth.db` in the data directory.",
    )
    database_connections: int = Field(
        8, ge=2, le=100, description="Most connections to a MySQL server, half for reads, half for writes."
    )
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
