"""`palaver gateway`, `palaver auth`, `palaver messenger`, `palaver archiver`: one service in this process."""

from palaver.cli.options import Config
from palaver.service_process import run


def gateway(config: Config = None) -> None:
    """Run the gateway: the one public door, HTTP and WebSocket.

    Example:

        PALAVER_GATEWAY__PORT=8080 palaver gateway
    """
    run("gateway", config)


def auth(config: Config = None) -> None:
    """Run auth: accounts, sessions and signing keys, by private REST.

    Example:

        palaver auth --config /etc/palaver.toml
    """
    run("auth", config)


def messenger(config: Config = None) -> None:
    """Run the messenger: chats and messages, by private gRPC.

    Example:

        palaver messenger --config /etc/palaver.toml
    """
    run("messenger", config)


def archiver(config: Config = None) -> None:
    """Run the archiver: moves messages from the journal to ClickHouse. Of several, one does it at a time.

    Example:

        PALAVER_ARCHIVE__URL=clickhouse://palaver:secret@10.0.0.5:9000/palaver palaver archiver
    """
    run("archiver", config)
