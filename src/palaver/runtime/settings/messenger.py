"""The messenger's settings."""

from typing import Self

from pydantic import Field, SecretStr, model_validator

from palaver.runtime.settings.addresses import SEVERAL, Urls
from palaver.runtime.settings.section import Section

# Half of the largest gRPC message
REQUEST_TEXT_BYTES = 16_777_216


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
    auth_url: Urls = Field(
        "http://127.0.0.1:10001",
        description=f"Where auth's REST is: a URL, or `unix:` and the path of its socket. {SEVERAL}",
    )
    database_url: str = Field(
        "",
        description="Where the journal is: `sqlite:///PATH` or `mysql://USER:PASSWORD@HOST:PORT/SCHEMA`. "
        "Empty: `messenger.db` in the data directory.",
    )
    database_connections: int = Field(
        6, ge=3, le=100, description="Most connections to a MySQL server, besides one a writer."
    )
    writers: int = Field(
        1,
        ge=1,
        le=16,
        description="Transactions that one messenger commits to MySQL at once, each for some of the chats. "
        "SQLite has one writer.",
    )
    redis_url: SecretStr = Field(
        SecretStr(""),
        description="Where Redis is, by which several messengers know of each other's messages, of who is "
        "online, and of users' rates: `redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]`, or `rediss://` for "
        "TLS. Empty: this messenger is the only one.",
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
