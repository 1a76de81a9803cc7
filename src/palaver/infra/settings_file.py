"""The settings file from which services start on the engines."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from palaver.infra.credentials import Credentials
from palaver.infra.files import read_file, write_file
from palaver.infra.topology import (
    ARCHIVE_DATABASE,
    CLICKHOUSE_ACCOUNT,
    CLUSTER,
    CLUSTER_NODE,
    MYSQL,
    REDIS,
    Topology,
)
from palaver.runtime.startup import StartError

FILE = "palaver.toml"
HEAD = """\
# The settings of services on these engines. `palaver infra up` keeps what it has written here up to date, and
# leaves your own settings as they are.
"""

Values = dict[str, Any]


def engine_settings(topology: Topology, credentials: Credentials) -> Values:
    """Where the engines are, by section of the settings."""
    mysql, redis, cluster = (topology.addresses[name] for name in (MYSQL, REDIS, CLUSTER_NODE))

    def mysql_url(schema: str) -> str:
        return f"mysql://{schema}:{credentials.mysql[schema]}@{mysql.host}:{mysql.port}/{schema}"

    return {
        "auth": {"database_url": mysql_url("auth")},
        "messenger": {
            "database_url": mysql_url("messenger"),
            "redis_url": f"redis://:{credentials.redis}@{redis.host}:{redis.port}/0",
        },
        "archive": {
            "url": f"clickhouse://{CLICKHOUSE_ACCOUNT}:{credentials.clickhouse}"
            f"@{cluster.host}:{cluster.port}/{ARCHIVE_DATABASE}",
            "cluster": CLUSTER,
        },
    }


def write_settings(path: Path, values: Values, mode: int = 0o600) -> None:
    """Writes the values among those that the file has. Raises `StartError`."""
    known = read_settings(path)
    merged = merge(known, values)
    # A file that has them keeps its comments
    if merged != known or not path.exists():
        write_file(path, HEAD + toml_of(merged), mode)


def read_settings(path: Path) -> Values:
    """The values of a file; none where there is none. Raises `StartError`."""
    if not path.exists():
        return {}
    try:
        return tomllib.loads(read_file(path))
    except tomllib.TOMLDecodeError as error:
        raise StartError(f"settings file {path}: {error}") from None


def merge(known: Values, new: Values) -> Values:
    """Both, of which the new ones win."""
    merged = dict(known)
    for key, value in new.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(value, dict) and isinstance(old, dict) else value
    return merged


def toml_of(values: Mapping[str, Any]) -> str:
    """Settings as TOML: plain values first, then a table a section."""
    plain = [f"{key} = {json.dumps(value)}" for key, value in values.items() if not isinstance(value, dict)]
    tables = [
        f"\n[{section}]\n{toml_of(inner)}" for section, inner in values.items() if isinstance(inner, dict)
    ]
    return "".join(f"{line}\n" for line in plain) + "".join(tables)
