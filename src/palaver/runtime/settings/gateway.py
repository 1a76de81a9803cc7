"""The gateway's settings."""

import ipaddress
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from palaver.runtime.settings.addresses import SEVERAL, Targets, Urls
from palaver.runtime.settings.section import Section


def checked_proxy(value: str) -> str:
    """An address, a network or `*`. Raises `ValueError`: a misspelt one would be no proxy, in silence."""
    if value != "*":
        ipaddress.ip_network(value, strict=False)
    return value


class GatewaySettings(Section):
    """The public HTTP and WebSocket service."""

    host: str = Field("0.0.0.0", description="Address to listen on for the public.")  # noqa: S104 - the service is public
    port: int = Field(10000, ge=0, le=65535, description="Public HTTP and WebSocket port.")
    auth_url: Urls = Field(
        "http://127.0.0.1:10001",
        description=f"Where auth's REST is: a URL, or `unix:` and the path of its socket. {SEVERAL}",
    )
    messenger_target: Targets = Field(
        "127.0.0.1:10004",
        description="Where the messenger's gRPC is: host and port, or `unix:` and the path of its socket. "
        f"{SEVERAL}",
    )
    messenger_stream: Targets = Field(
        "",
        description="Where the messenger serves streams alone, in the same form. Empty: at "
        "`messenger_target`, where a message costs more.",
    )
    messenger_url: Urls = Field(
        "http://127.0.0.1:10003",
        description="Where the messenger's health is, of each replica, in the form of `auth_url`.",
    )
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
    redis_url: SecretStr = Field(
        SecretStr(""),
        description="Where Redis is, by which several gateways share the rates, in the form of "
        "`messenger.redis_url`. Empty: each counts for itself.",
    )
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
