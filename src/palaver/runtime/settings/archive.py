"""The archive's settings."""

import re
from urllib.parse import unquote, urlsplit

from pydantic import Field, field_validator

from palaver.runtime.settings.section import Section

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


class ArchiveSettings(Section):
    """Where messages go that leave the journal, and the archiver that moves them."""

    url: str = Field(
        "",
        description="The ClickHouse node that knows the cluster: "
        "`clickhouse://USER:PASSWORD@HOST:PORT/DATABASE`. All nodes have the same user and password. "
        "Empty: there is no archive.",
    )
    cluster: str = Field("palaver", description="The cluster's name in that node's `system.clusters`.")
    threads: int = Field(4, ge=2, le=16, description="Statements to ClickHouse at once, of one process.")
    keep_messages: int = Field(
        200, ge=1, description="So many of the newest messages of each chat stay in the journal."
    )
    keep_hours: float = Field(
        24.0, ge=0, le=876_000, description="Messages stay in the journal for so many hours at least."
    )
    host: str = Field("127.0.0.1", description="Address on which the archiver listens.")
    http_port: int = Field(10005, ge=0, le=65535, description="The archiver's health and metrics.")

    @field_validator("url")
    @classmethod
    def check_url(cls, url: str) -> str:
        """The error names no part of the URL, which has a password. Raises `ValueError`."""
        if url:
            parse_archive_url(url)
        return url

    @field_validator("cluster")
    @classmethod
    def check_cluster(cls, name: str) -> str:
        """It becomes part of statements. Raises `ValueError`."""
        if not NAME.fullmatch(name):
            raise ValueError("must be 1 to 64 of A-Z a-z 0-9 _, with no digit first")
        return name


def parse_archive_url(url: str) -> tuple[str, int, str, str, str]:
    """Host, port, user, password and database. Raises `ValueError`."""
    wrong = "must be clickhouse://USER:PASSWORD@HOST:PORT/DATABASE"
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        raise ValueError(wrong) from None
    database = parts.path.removeprefix("/")
    host, user = parts.hostname, parts.username
    if (
        parts.scheme != "clickhouse"
        or not host
        or not port
        or not user
        or not NAME.fullmatch(database)
        or parts.query
    ):
        raise ValueError(wrong)
    return host, port, unquote(user), unquote(parts.password or ""), database
